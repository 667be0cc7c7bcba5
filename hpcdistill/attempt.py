"""What a batch script and the run that it starts tell each other.

A job that is requeued makes several attempts at one run. The script numbers them (`HPCDISTILL_ATTEMPT`), names a file
for each (`HPCDISTILL_STATUS`), and says how many seconds Slurm grants between its signal and the end
(`HPCDISTILL_SIGNAL_DELAY`). The run writes into the file that MPI has started, and its exit code once it ends by
itself: the code that srun returns may be that of a rank that Slurm killed after another had failed. The script writes
`killed` there if the run did not end by itself. Slurm's signals USR2 and TERM ask the run to end.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Self

RUNNING, KILLED = "running", "killed"
STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM)


class StopSignal:
    """Hears USR2 and TERM while it is entered, instead of dying of them. Enter it first: until then they kill.

    Attributes:
        number: of the first signal heard, 0 before.
    """

    def __init__(self) -> None:
        self.number = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        self._before = {number: signal.signal(number, self._hear) for number in STOP_SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.number = self.number or number


def report_running() -> None:
    """Tell the batch script, if there is one, that MPI has started. Call on one rank."""
    _write(RUNNING)


def report_ended(code: int) -> None:
    """Tell the batch script, if there is one, how the run ends. The first to call in an attempt is heard."""
    name = os.environ.get("HPCDISTILL_STATUS")
    if name and read_status(Path(name)) in ("", RUNNING):
        _write(str(code))


def signal_delay_seconds() -> float | None:
    """Return the seconds between the signal that asks a job to end and its end, or None where nobody has said."""
    text = os.environ.get("HPCDISTILL_SIGNAL_DELAY", "")
    return float(text) if text else None


def attempt_number() -> int:
    """Return 1 for a job's first start, 2 after it was requeued once, and so on."""
    return int(os.environ.get("HPCDISTILL_ATTEMPT") or 1)


def status_path(folder: Path, job_id: str, attempt: int) -> Path:
    """Return the status file of an attempt of a job."""
    return folder / f"{job_id}.attempt-{attempt}"


def read_attempts(folder: Path, job_id: str) -> list[str]:
    """Return what the status files of a job's attempts hold, the first attempt first."""
    numbers = sorted(int(p.suffix.rpartition("-")[2]) for p in folder.glob(f"{job_id}.attempt-*"))
    return [read_status(status_path(folder, job_id, number)) for number in numbers]


def read_status(path: Path) -> str:
    """Return what a status file holds, "" where there is none."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _write(text: str) -> None:
    name = os.environ.get("HPCDISTILL_STATUS")
    if not name:
        return
    # On a disk that is full, which the run itself will say, the script falls back to srun's code.
    with contextlib.suppress(OSError):
        Path(name).write_text(text + "\n")
