"""States of submitted jobs, whoever runs them, and how a job that has ended did so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpcdistill.attempt import KILLED, read_attempts
from hpcdistill.cluster import local, slurm
from hpcdistill.cluster.registry import Job, Submission
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
        return self.name in slurm.FINISHED or self.name == slurm.FORGOTTEN

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
        EnvironmentSetupError: Slurm does not answer.
    """
    here = slurm.cluster_name() if slurm.is_there() and any(s.executor == "slurm" for s in submissions) else None
    mine = [s for s in submissions if s.executor == "slurm" and s.where == here]
    known = slurm.job_states(job.job_id for s in mine for job in s.jobs)
    return {(s.folder, job.job_id): _state(s, job, here, known) for s in submissions for job in s.jobs}


def _state(submission: Submission, job: Job, here: str | None, known: dict[str, slurm.SlurmState]) -> JobState:
    attempts = read_attempts(Path(submission.folder), job.job_id)
    if submission.where != (local.machine_name() if submission.executor == "local" else here):
        ended = attempts and attempts[-1].isdigit() and attempts[-1] != str(EXIT_STOPPED)  # 75: may be requeued there
        name = _from_attempts(attempts) if ended else f"on {submission.where}"
        return JobState(name, attempt=max(1, len(attempts)), elsewhere=True)
    if submission.executor == "local":
        return JobState(local.job_state(Path(submission.folder), job.job_id), attempt=max(1, len(attempts)))
    state = known[job.job_id]
    if state.name == slurm.FORGOTTEN and attempts:
        state = slurm.SlurmState(_from_attempts(attempts))
    return JobState(state.name, state.reason, max(1, len(attempts)))


def _from_attempts(attempts: list[str]) -> str:
    """Return the state that the last attempt tells of, for a job that Slurm has forgotten."""
    last = attempts[-1]
    names = {"0": "COMPLETED", str(EXIT_STOPPED): "CANCELLED", KILLED: "FAILED"}
    return names.get(last, "FAILED" if last.isdigit() else slurm.FORGOTTEN)


def exit_code(submission: Submission, job: Job, state: JobState) -> int:
    """Return the exit code of a job that is over: the run's own where it said one."""
    if state.succeeded:
        return 0
    attempts = read_attempts(Path(submission.folder), job.job_id)
    last = attempts[-1] if attempts else ""
    if state.name in ("CANCELLED", "TIMEOUT") or not last.isdigit():
        return EXIT_STOPPED if state.name == "CANCELLED" else EXIT_INTERNAL
    return int(last)
