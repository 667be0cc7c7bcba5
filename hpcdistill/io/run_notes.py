"""Small files beside a run's checkpoints: who writes there, how far it got, what an unfinished evaluation has counted.

`OUTPUT/owner.json`, `reached.json`, `evaluation.json`. Called on rank 0.
"""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from hpcdistill.errors import TakenOverError
from hpcdistill.whole_file import whole_file

#: Seconds between two notes of the step reached.
_REACHED_INTERVAL_SECONDS = 1.0


@dataclass(frozen=True)
class FurthestStep:
    """How far a run got, saved or not: steps, and seconds spent on them."""

    step: int
    seconds: float


class RunNotes:
    """The notes in one run's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._token, self._last_reached = folder, uuid.uuid4().hex, -float("inf")

    def take_over(self) -> None:
        """Make this process the one that may write here; whoever wrote before ends when it comes to write again.

        That is so where a node was lost to Slurm, which has started the job anew, but goes on computing; and where the
        same run was started twice.

        Raises:
            OSError: the folder cannot be written to.
        """
        job = os.environ.get("SLURM_JOB_ID", "")
        who = f"process {os.getpid()} on {socket.gethostname()}" + (f", job {job}" if job else "")
        since = datetime.now().astimezone().isoformat(timespec="seconds")
        _write(self._folder / "owner.json", {"token": self._token, "who": who, "since": since})

    def check_owner(self) -> None:
        """Raise `TakenOverError` if another process has taken over since `take_over`."""
        owner = _read(self._folder / "owner.json")
        if owner.get("token", self._token) != self._token:
            raise TakenOverError(
                f"{self._folder}: another run has taken over this folder ({owner.get('who')}, since "
                f"{owner.get('since')}), so this one ends. Give each run a folder of its own with --output."
            )

    def write_reached(self, step: int, seconds: float, *, is_saved: bool = False) -> None:
        """Note how far the run got, at most once a second unless the step is saved."""
        now = time.monotonic()
        if is_saved or now - self._last_reached >= _REACHED_INTERVAL_SECONDS:
            self._last_reached = now
            _try_to_write(self._folder / "reached.json", {"step": step, "seconds": seconds})

    def read_reached(self) -> FurthestStep | None:
        """Return how far an earlier attempt got, or None where that was not noted."""
        note = _read(self._folder / "reached.json")
        try:
            return FurthestStep(int(note["step"]), float(note["seconds"]))
        except (KeyError, TypeError, ValueError):
            return None

    def write_tally(self, what: str, done: int, squares: np.ndarray, confusion: np.ndarray) -> None:
        """Note what the evaluation `what` has counted: targets, squared residuals `(m,)`, confusions `(m, c, c)`."""
        note = {"of": what, "done": done, "squares": squares.tolist(), "confusion": confusion.tolist()}
        _try_to_write(self._folder / "evaluation.json", note)

    def forget_tally(self) -> None:
        """Remove what was counted, when all evaluations of a run are in its history."""
        with suppress(OSError):
            (self._folder / "evaluation.json").unlink()

    def read_tally(self, what: str) -> tuple[int, np.ndarray, np.ndarray]:
        """Return what an earlier attempt at the evaluation `what` has counted; no targets if there was none."""
        note = _read(self._folder / "evaluation.json")
        try:
            if note["of"] == what:
                squares, confusion = np.array(note["squares"], float), np.array(note["confusion"], np.int64)
                if confusion.ndim == 3 and squares.shape == confusion.shape[:1]:
                    return int(note["done"]), squares, confusion
        except (KeyError, TypeError, ValueError):
            pass
        return 0, np.zeros(0), np.zeros((0, 0, 0), np.int64)


def _read(path: Path) -> dict[str, Any]:
    """Return a note, empty where it is missing or damaged."""
    try:
        note = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return note if isinstance(note, dict) else {}


def _write(path: Path, note: dict[str, Any]) -> None:
    """Write a note so that a reader finds the old one or the new one."""
    with whole_file(path, durable=False) as file:  # one that is lost with its machine is missed by nobody
        file.write(json.dumps(note).encode() + b"\n")


def _try_to_write(path: Path, note: dict[str, Any]) -> None:
    """Write a note that a run can do without, as on a disk that is full."""
    try:
        _write(path, note)
    except OSError:
        return
