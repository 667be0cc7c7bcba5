"""Where a run keeps what it computes: in a folder, or in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import numpy as np

from hpcdistill.errors import InterruptedWriteError, StorageError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.checkpoint_write import write_checkpoint
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.learning.history import History
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, all_meet, on_root


class Store(Protocol):
    """What a run needs of the place where it keeps things."""

    def save(self, comm: MPI.Intracomm, step: int, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint of a step, the newest. Collective; every rank gives the same."""
        ...

    def save_best(self, comm: MPI.Intracomm, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint with the best validation accuracy so far. Collective."""
        ...

    def note_step(self, comm: MPI.Intracomm, step: int, history: History) -> None:
        """Take note of a step that is done, saved or not. Collective."""
        ...

    def write_tally(self, what: str, done: int, squares: np.ndarray, confusion: np.ndarray) -> None:
        """Take note of what an evaluation has counted; see `RunNotes`. Called on rank 0."""
        ...

    def read_tally(self, what: str) -> tuple[int, np.ndarray, np.ndarray]:
        """Return what was noted of an evaluation; see `RunNotes`. Called on rank 0."""
        ...


class FolderStore:
    """The folder of a run, as long as no other run has taken it over.

    Args:
        keep: how many of the newest checkpoints stay.
        paper_steps: whether those of the papers' schedule stay, too.
    """

    def __init__(self, directory: RunDirectory, keep: int, *, paper_steps: bool) -> None:
        self._directory, self._notes, self._keep, self._paper_steps = directory, directory.notes, keep, paper_steps
        self.write_tally, self.read_tally = self._notes.write_tally, self._notes.read_tally

    def save(self, comm: MPI.Intracomm, step: int, checkpoint: Checkpoint) -> None:
        """Write the checkpoint of a step, point `latest.h5` to it, and remove what is no longer kept. Collective."""
        with self._owned(comm):
            write_checkpoint(comm, self._directory.checkpoint_path(step), checkpoint)
            on_root(comm, lambda: self._published(step, History.from_arrays(checkpoint.history()).last_seconds))

    def save_best(self, comm: MPI.Intracomm, checkpoint: Checkpoint) -> None:
        """Write `best.h5`. Collective."""
        with self._owned(comm):
            write_checkpoint(comm, self._directory.best, checkpoint)

    def note_step(self, comm: MPI.Intracomm, step: int, history: History) -> None:
        """Write how far the run got."""
        if comm.Get_rank() == 0:
            self._notes.write_reached(step, history.last_seconds)

    def _published(self, step: int, seconds: float) -> None:
        self._notes.check_owner()  # `latest.h5` and the number of checkpoints are the newer run's
        self._notes.write_reached(step, seconds, is_saved=True)
        self._directory.published(step, self._keep, paper_steps=self._paper_steps)

    @contextmanager
    def _owned(self, comm: MPI.Intracomm) -> Iterator[None]:
        """Write within this: raises `TakenOverError` if another run has taken over, before or while this one writes."""
        on_root(comm, self._notes.check_owner)
        try:
            yield
        except StorageError as error:  # another run removes unfinished files when it takes over
            if not isinstance(error, InterruptedWriteError) and all_meet(comm):
                on_root(comm, self._notes.check_owner)
            raise


class MemoryStore:
    """The newest and the best checkpoint, on every rank.

    Args:
        told: hears of each step, with its figures.
    """

    def __init__(self, told: Callable[[int, dict[str, float]], None] | None = None) -> None:
        self.newest: Checkpoint | None = None
        self.best: Checkpoint | None = None
        self._told = told

    def save(self, comm: MPI.Intracomm, step: int, checkpoint: Checkpoint) -> None:
        """Keep the checkpoint of a step."""
        del comm, step
        self.newest = checkpoint

    def save_best(self, comm: MPI.Intracomm, checkpoint: Checkpoint) -> None:
        """Keep the best checkpoint."""
        del comm
        self.best = checkpoint

    def note_step(self, comm: MPI.Intracomm, step: int, history: History) -> None:
        """Tell who wants to hear of it, on rank 0; what that raises ends the run on every rank."""
        if self._told is None:
            return
        if comm.Get_size() == 1:
            self._told(step, dict(history.rows[step]))
            return
        with agree(comm):
            if comm.Get_rank() == 0:
                self._told(step, dict(history.rows[step]))

    def write_tally(self, what: str, done: int, squares: np.ndarray, confusion: np.ndarray) -> None:
        """Nothing: nobody goes on where this run was stopped."""

    def read_tally(self, what: str) -> tuple[int, np.ndarray, np.ndarray]:
        """Return that nothing was counted."""
        del what
        return 0, np.zeros(0), np.zeros((0, 0, 0), np.int64)
