"""Jobs on Slurm, through submitit."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpcdistill.cluster import slurm
from hpcdistill.cluster.request import Request
from hpcdistill.cluster.scheduler import Reported
from hpcdistill.cluster.scripts import python_command, slurm_parameters, slurm_script
from hpcdistill.cluster.task import RunTask
from hpcdistill.errors import EnvironmentSetupError

#: Variables that tell of the job, the step or the rank that a process is; where Slurm's configuration is stays known.
_ALLOCATION = re.compile(
    r"(SLURM(?!_CONF$)|SBATCH_|SALLOC_|SRUN_|PMI_|PMIX_|OMPI_COMM_|OMPI_UNIVERSE_|PRTE_|MPI_LOCAL)"
)


class SlurmScheduler:
    """See `Scheduler`. Several runs are the jobs of one array."""

    unused_keys: tuple[str, ...] = ()

    def is_there(self) -> bool:
        """Return whether Slurm's commands are."""
        return slurm.is_there()

    def where(self) -> str:
        """Return the cluster's name."""
        return slurm.cluster_name()

    def most_jobs(self) -> int | None:
        """Return how many jobs an array can have."""
        return slurm.max_array_jobs()

    def script(self, request: Request) -> str:
        """Return the batch script."""
        return slurm_script(request)

    def submit(self, request: Request) -> list[str]:
        """Submit one job, or the jobs of one array."""
        from submitit import SlurmExecutor
        from submitit.core.utils import FailedJobError, FailedSubmissionError

        executor = SlurmExecutor(request.folder, python=python_command(request.profile))
        executor.update_parameters(**slurm_parameters(request))
        tasks = [RunTask(run.arguments(resume=request.resume)) for run in request.runs]
        try:
            with _outside_of_allocations():
                jobs = executor.submit_array(tasks)
        except (FailedJobError, FailedSubmissionError) as error:
            raise EnvironmentSetupError(
                f"sbatch refuses: {_last_line(str(error))}. Look at [resources] in the profile; --dry-run shows the "
                "script."
            ) from None
        return [job.job_id for job in jobs]

    def states(self, jobs: Sequence[tuple[Path, str]]) -> list[Reported]:
        """See `Scheduler`."""
        known = slurm.job_states(job_id for _, job_id in jobs)
        return [known[job_id] for _, job_id in jobs]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Cancel jobs; those that run have Slurm's `KillWait` to save (30 s by default)."""
        slurm.cancel(list(job_ids))


@contextmanager
def _outside_of_allocations() -> Iterator[None]:
    """Hide what an allocation or an MPI launcher has put into the environment: it would count for the job, too."""
    hidden = {name: value for name, value in os.environ.items() if _ALLOCATION.match(name)}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: ").rstrip(".") if lines else "no reason given"
