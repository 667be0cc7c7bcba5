"""What this user has submitted: one small file per submission, in `$HPCDISTILL_STATE` (~/.local/state/hpcdistill)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpcdistill.errors import ConfigError, EnvironmentSetupError
from hpcdistill.whole_file import whole_file


@dataclass(frozen=True)
class Job:
    """One run that was submitted.

    Attributes:
        job_id: as the executor has it: "12", "12_3" (of an array), or a process number (local).
        output: the run's folder.
        values: what a sweep has set for it, by section.key.
    """

    job_id: str
    output: str
    values: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Submission:
    """One call of `hpcdistill submit`.

    Attributes:
        executor: "slurm" or "local".
        where: the cluster's name, or this machine's: numbers of jobs mean something there only.
        folder: logs and status files.
        submitted: date and time, ISO 8601.
    """

    executor: str
    where: str
    folder: str
    submitted: str
    jobs: tuple[Job, ...]

    def log(self, job: Job) -> Path:
        """Return the log of a job."""
        return Path(self.folder) / f"{job.job_id}_0_log.out"


def remember(submission: Submission) -> None:
    """Keep a submission.

    Raises:
        EnvironmentSetupError: the folder cannot be written to.
    """
    folder = _folder()
    name = f"{submission.submitted.replace(':', '')}-{submission.jobs[0].job_id}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with whole_file(folder / name) as file:
            file.write(json.dumps(asdict(submission), indent=1).encode() + b"\n")
    except OSError as error:
        raise EnvironmentSetupError(
            f"{folder}: cannot be written to ({error.strerror}). The jobs are submitted, but `hpcdistill jobs` will "
            "not know them: set HPCDISTILL_STATE to a folder of yours."
        ) from error


def submissions() -> list[Submission]:
    """Return what was submitted and still has an output folder, the oldest first; damaged files do not count."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            submission = _parse(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, KeyError):
            continue
        jobs = tuple(job for job in submission.jobs if Path(job.output).is_dir())
        if jobs:
            found.append(Submission(**{**vars(submission), "jobs": jobs}))
    return found


def choose(found: list[Submission], ids: list[str]) -> list[tuple[Submission, Job]]:
    """Return the newest job of each id; the number of an array means all its jobs.

    Raises:
        ConfigError: an id that no submission has.
    """
    chosen: dict[tuple[str, str], tuple[Submission, Job]] = {}
    for wanted in ids:
        submission = next((s for s in reversed(found) if any(_is(job, wanted) for job in s.jobs)), None)
        if submission is None:
            raise ConfigError(f"job {wanted!r} is not among those you have submitted with hpcdistill, or its output "
                              "folder is gone. `hpcdistill jobs --all` lists them.")  # fmt: skip
        chosen |= {(submission.folder, job.job_id): (submission, job) for job in submission.jobs if _is(job, wanted)}
    return list(chosen.values())


def _is(job: Job, wanted: str) -> bool:
    return wanted in (job.job_id, job.job_id.partition("_")[0])


def _parse(table: dict[str, Any]) -> Submission:
    return Submission(**{**table, "jobs": tuple(Job(**job) for job in table["jobs"])})


def _folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state"
    return Path(os.environ.get("HPCDISTILL_STATE") or Path(state) / "hpcdistill") / "jobs"
