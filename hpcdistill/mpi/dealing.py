"""Work that is dealt out to ranks as they become free: a counter that each of them asks for the next number."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.traffic import note

#: More than anybody counts to.
_END = 1 << 40


class Counter:
    """Numbers from 0, each given out once, on any rank. Made by `dealing`."""

    def __init__(self, comm: MPI.Intracomm, total: int, window: Any) -> None:
        self._comm, self._total, self._window, self._next = comm, total, window, 0

    def __iter__(self) -> Iterator[int]:
        """Yield numbers below the total, until there are none left or a rank has called `stop`. Not collective."""
        while (number := self._add(1)) < self._total:
            yield number

    def stop(self) -> None:
        """Give out no more, on any rank. Not collective."""
        self._add(_END)

    def attend(self) -> None:
        """Let others ask: a library that needs rank 0's own hand for that has it only while MPI is called."""
        if self._window is not None:
            self._comm.Iprobe()

    def _add(self, amount: int) -> int:
        if self._window is None:
            self._next, before = self._next + amount, self._next
            return before
        note(self._comm, "Fetch_and_op", 8)
        sent, found = np.array([amount], np.int64), np.zeros(1, np.int64)
        self._window.Fetch_and_op(sent, found, 0)
        self._window.Flush(0)
        return int(found[0])


@contextmanager
def dealing(comm: MPI.Intracomm, total: int) -> Iterator[Counter]:
    """Yield a counter up to `total` that all ranks share. Collective, at its end, too.

    A rank that raises within has no more given out. What raises within must raise on every rank, as `agree` has it.
    """
    if comm.Get_size() == 1:
        yield Counter(comm, total, None)
        return
    window = MPI.Win.Allocate(8 if comm.Get_rank() == 0 else 0, 8, comm=comm)
    if comm.Get_rank() == 0:
        window.tomemory()[:] = bytes(8)
    comm.Barrier()
    window.Lock_all()
    counter = Counter(comm, total, window)
    try:
        yield counter
    except BaseException:
        counter.stop()
        raise
    finally:
        window.Unlock_all()
        window.Free()
