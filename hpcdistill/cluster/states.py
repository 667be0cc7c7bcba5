"""States of submitted jobs, whoever runs them, and how a job that has ended did so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpcdistill.attempt import KILLED, read_attempts
from hpcdistill.cluster.registry import Job, Submission
from hpcdistill.cluster.scheduler import FINISHED, FORGOTTEN, Reported, find_scheduler
from hpcdistill.errors import EXIT_INTERNAL, EXIT_STOPPED


@dataclass(frozen=True)
class JobState:
    """What is known of a job.

    Attributes:
        name: in Slurm's words; UNKNOWN where nobody remembers the job.
        reason: why it waits; "" where that says nothing.
        attempt: 1 before it was requeued for the first time.
        elsewhere: whether it is on another cluster or machine, which cannot be asked from here.
    """

    name: str
    reason: str = ""
    attempt: int = 1
    elsewhere: bool = False

    @property
    def finished(self) -> bool:
        """Whether it is over: not where that is not known."""
        return self.name in FINISHED or self.name == FORGOTTEN

    @property
    def succeeded(self) -> bool:
        """Whether it is over, and well."""
        return self.name == "COMPLETED"

    def __str__(self) -> str:
        """Return the state as a person reads it."""
        again = f", attempt {self.attempt}" if self.attempt > 1 else ""
        why = f" ({self.reason})" if self.name == "PENDING" and self.reason else ""
        return f"{self.name}{why}{again}"


def find_states(submissions: list[Submission]) -> dict[tuple[str, str], JobState]:
    """Return the state of each job, by folder and id.

    Raises:
        EnvironmentSetupError: a scheduler does not answer.
    """
    known: dict[tuple[str, str], Reported] = {}
    for name in {s.executor for s in submissions}:
        scheduler = find_scheduler(name)
        here = scheduler.where() if scheduler.is_there() else None
        mine = [(s.folder, job.job_id) for s in submissions if (s.executor, s.where) == (name, here) for job in s.jobs]
        reported = scheduler.states([(Path(folder), job_id) for folder, job_id in mine]) if mine else []
        known |= dict(zip(mine, reported, strict=True))
    return {
        (s.folder, job.job_id): _state(s, job, known.get((s.folder, job.job_id))) for s in submissions for job in s.jobs
    }


def _state(submission: Submission, job: Job, state: Reported | None) -> JobState:
    """Return what is known of a job, of which its scheduler says this; None where it cannot be asked from here."""
    attempts = read_attempts(Path(submission.folder), job.job_id)
    if state is None:
        ended = attempts and attempts[-1].isdigit() and attempts[-1] != str(EXIT_STOPPED)  # 75: may be requeued there
        name = _from_attempts(attempts) if ended else f"on {submission.where}"
        return JobState(name, attempt=max(1, len(attempts)), elsewhere=True)
    if state.name == FORGOTTEN and attempts:
        state = Reported(_from_attempts(attempts))
    return JobState(state.name, state.reason, max(1, len(attempts)))


def _from_attempts(attempts: list[str]) -> str:
    """Return the state that the last attempt tells of, for a job that its scheduler has forgotten."""
    last = attempts[-1]
    names = {"0": "COMPLETED", str(EXIT_STOPPED): "CANCELLED", KILLED: "FAILED"}
    return names.get(last, "FAILED" if last.isdigit() else FORGOTTEN)


def exit_code(submission: Submission, job: Job, state: JobState) -> int:
    """Return the exit code of a job that is over: the run's own where it said one."""
    if state.succeeded:
        return 0
    attempts = read_attempts(Path(submission.folder), job.job_id)
    last = attempts[-1] if attempts else ""
    if state.name in ("CANCELLED", "TIMEOUT") or not last.isdigit():
        return EXIT_STOPPED if state.name == "CANCELLED" else EXIT_INTERNAL
    return int(last)
