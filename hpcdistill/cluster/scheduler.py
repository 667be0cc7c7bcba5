"""What hands runs to a scheduler and asks after them: one interface, and who implements it.

A profile names the scheduler (`executor`). Another one than Slurm is one more class and one more line below.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from hpcdistill.errors import ConfigError
from hpcdistill.plugins import load_object

if TYPE_CHECKING:
    from hpcdistill.cluster.request import Request

_SCHEDULERS = {
    "slurm": "hpcdistill.cluster.slurm_scheduler:SlurmScheduler",
    "local": "hpcdistill.cluster.local_scheduler:LocalScheduler",
}
#: States in which a job is over, in Slurm's words (squeue's manual). From any other, known or not, it may go on.
FINISHED = frozenset(
    ("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "LAUNCH_FAILED", "NODE_FAIL", "OUT_OF_MEMORY",
     "PREEMPTED", "RECONFIG_FAIL", "REVOKED", "TIMEOUT")
)  # fmt: skip
#: The state of a job that nobody remembers.
FORGOTTEN = "UNKNOWN"


@dataclass(frozen=True)
class Reported:
    """A job's state in Slurm's words, and why it waits ("" where that is not said)."""

    name: str
    reason: str = ""


class Scheduler(Protocol):
    """Where jobs run. Every method may raise `EnvironmentSetupError`: there is no such scheduler, or no answer.

    Attributes:
        unused_keys: those of a profile that mean nothing to it.
    """

    unused_keys: tuple[str, ...]

    def is_there(self) -> bool:
        """Return whether it can be asked from here."""
        ...

    def where(self) -> str:
        """Return the name of the cluster, or machine, which tells its job numbers from those of others."""
        ...

    def most_jobs(self) -> int | None:
        """Return how many jobs can be submitted together; None for any number."""
        ...

    def script(self, request: Request) -> str:
        """Return what would be run, for people to read."""
        ...

    def submit(self, request: Request) -> list[str]:
        """Submit all runs of a request; return the number of each one's job."""
        ...

    def states(self, jobs: Sequence[tuple[Path, str]]) -> list[Reported]:
        """Return the state of each job, by its folder of logs and its number."""
        ...

    def cancel(self, job_ids: Sequence[str]) -> None:
        """End jobs; those that run are told to save first."""
        ...


def scheduler_names() -> list[str]:
    """Return what `executor` may be."""
    return list(_SCHEDULERS)


def find_scheduler(name: str) -> Scheduler:
    """Return a scheduler by name.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in _SCHEDULERS:
        raise ConfigError(f"executor is {name!r}. Valid: {', '.join(_SCHEDULERS)}.")
    scheduler: Scheduler = load_object(f"executor {name!r}", _SCHEDULERS[name])()
    return scheduler
