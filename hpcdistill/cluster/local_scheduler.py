"""Jobs on this machine: processes that submitit starts."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpcdistill.attempt import read_attempts
from hpcdistill.cluster.local_task import CANCELLED, WAITING, LocalTask
from hpcdistill.cluster.request import Request
from hpcdistill.cluster.scheduler import Reported
from hpcdistill.cluster.scripts import local_script
from hpcdistill.errors import EXIT_STOPPED


class LocalScheduler:
    """See `Scheduler`. Several runs take turns, `resources.array_parallelism` at a time."""

    unused_keys = (
        "resources.partition", "resources.account", "resources.qos", "resources.nodes", "resources.gpus_per_node",
        "resources.memory", "resources.sbatch", "launch.mpi",
    )  # fmt: skip

    def is_there(self) -> bool:
        """Return that it is."""
        return True

    def where(self) -> str:
        """Return this machine's name."""
        return socket.gethostname()

    def most_jobs(self) -> int | None:
        """Return that any number of jobs can wait."""
        return None

    def script(self, request: Request) -> str:
        """Return the shell lines of the first run."""
        return local_script(request, request.runs[0])

    def submit(self, request: Request) -> list[str]:
        """Start a process for each run, which waits for its turn."""
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

    def states(self, jobs: Sequence[tuple[Path, str]]) -> list[Reported]:
        """See `Scheduler`."""
        return [Reported(_state(folder, job_id)) for folder, job_id in jobs]

    def cancel(self, job_ids: Sequence[str]) -> None:
        """Tell jobs to save and stop; each has two minutes for it."""
        for job_id in filter(_is_running, job_ids):
            os.kill(int(job_id), signal.SIGTERM)


def _state(folder: Path, job_id: str) -> str:
    """Return the state of a job, in Slurm's words."""
    attempts = read_attempts(folder, job_id)
    last = attempts[-1] if attempts else ""
    if _is_running(job_id):
        return "PENDING" if last in ("", WAITING) else "RUNNING"  # "": MPI has not started yet
    if last == CANCELLED:
        return "CANCELLED"
    if last == str(EXIT_STOPPED):
        return "TIMEOUT"
    return "COMPLETED" if last == "0" else "FAILED"


def _is_running(job_id: str) -> bool:
    """Return whether the process is submitit's, and not another one that got its number later."""
    try:
        return b"submitit.local._local" in Path(f"/proc/{int(job_id)}/cmdline").read_bytes()
    except OSError:
        return False


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
