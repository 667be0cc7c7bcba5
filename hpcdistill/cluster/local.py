"""Jobs on this machine: processes that submitit has started."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

from hpcdistill.attempt import read_attempts
from hpcdistill.cluster.local_task import CANCELLED, WAITING
from hpcdistill.errors import EXIT_STOPPED


def machine_name() -> str:
    """Return this machine's name, which tells its process numbers from those of others."""
    return socket.gethostname()


def job_state(folder: Path, job_id: str) -> str:
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


def cancel(job_id: str) -> None:
    """Tell a job to save and stop; it has two minutes for it."""
    if _is_running(job_id):
        os.kill(int(job_id), signal.SIGTERM)


def _is_running(job_id: str) -> bool:
    """Return whether the process is submitit's, and not another one that got its number later."""
    try:
        return b"submitit.local._local" in Path(f"/proc/{int(job_id)}/cmdline").read_bytes()
    except OSError:
        return False
