"""From a configuration and a profile to jobs, through submitit."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from hpcdistill.cluster import local, slurm
from hpcdistill.cluster.local_task import LocalTask
from hpcdistill.cluster.registry import Job, Submission
from hpcdistill.cluster.request import Request
from hpcdistill.cluster.scripts import local_script, python_command, slurm_parameters
from hpcdistill.cluster.task import RunTask
from hpcdistill.errors import EnvironmentSetupError, StorageError

#: Variables that tell of the job, the step or the rank that a process is; where Slurm's configuration is stays known.
_ALLOCATION = re.compile(
    r"(SLURM(?!_CONF$)|SBATCH_|SALLOC_|SRUN_|PMI_|PMIX_|OMPI_COMM_|OMPI_UNIVERSE_|PRTE_|MPI_LOCAL)"
)


def submit(request: Request) -> Submission:
    """Submit all runs: one job, or the jobs of one array.

    Raises:
        EnvironmentSetupError: no Slurm here, or sbatch refuses.
        StorageError: the folders cannot be written to.
    """
    where = slurm.cluster_name() if request.profile.executor == "slurm" else local.machine_name()
    try:
        for run in request.runs:
            run.output.mkdir(parents=True, exist_ok=True)
            run.config_path.write_text(run.config.to_toml())
        request.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(
            f"{error.filename}: cannot be written ({error.strerror}). Give another folder with --output."
        ) from error
    ids = _submit_local(request) if request.profile.executor == "local" else _submit_slurm(request)
    jobs = tuple(Job(i, str(run.output.absolute()), run.values) for i, run in zip(ids, request.runs, strict=True))
    submitted = datetime.now().astimezone().isoformat(timespec="milliseconds")
    return Submission(request.profile.executor, where, str(request.folder.absolute()), submitted, jobs)


def _submit_slurm(request: Request) -> list[str]:
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
            f"sbatch refuses: {_last_line(str(error))}. Look at [resources] in the profile; --dry-run shows the script."
        ) from None
    return [job.job_id for job in jobs]


def _submit_local(request: Request) -> list[str]:
    from submitit import LocalExecutor

    profile, ids = request.profile, []
    for run in request.runs:
        executor = LocalExecutor(request.folder)
        executor.update_parameters(
            timeout_min=profile.time_minutes,
            signal_delay_s=profile.restart.signal_delay_seconds,
            stderr_to_stdout=True,
        )
        task = LocalTask(
            local_script(request, run),
            str(request.folder.absolute()),
            profile.resources.array_parallelism,
            profile.restart.max_restarts,
            profile.restart.signal_delay_seconds,
        )
        with _detached_children():
            ids.append(executor.submit(task).job_id)
    return ids


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


@contextmanager
def _detached_children() -> Iterator[None]:
    """Let processes started here ignore Ctrl-C and the end of the terminal, and hold on to no pipe or terminal."""
    sys.stdout.flush()
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGHUP)}
    kept, nothing = [os.dup(k) for k in range(3)], os.open(os.devnull, os.O_RDWR)
    for k in range(3):
        os.dup2(nothing, k)
    try:
        yield
    finally:
        for k in range(3):
            os.dup2(kept[k], k)
        for descriptor in (*kept, nothing):
            os.close(descriptor)
        for number, handler in before.items():
            signal.signal(number, handler)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix("sbatch: ").rstrip(".") if lines else "no reason given"
