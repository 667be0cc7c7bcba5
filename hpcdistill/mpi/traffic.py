"""What this rank says to others, counted by the kind of message, while somebody listens.

Counted is what is given to MPI: a call, and the bytes of its message, which one rank has sent and this one sent or
received. How often a library passes a message on, and over which wires, is its own affair. A communicator of one rank
has nobody to talk to: nothing is counted there. Messages inside ScaLAPACK and parallel HDF5 are not seen, nor is memory
that the ranks of a node share; barriers carry nothing.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcdistill.mpi.binding import MPI


@dataclass
class Traffic:
    """Calls of each kind, and the bytes of their messages.

    The names are mpi4py's. Capitals are for arrays: `Allreduce`, `Bcast`, `Send`, `Recv`, and `Fetch_and_op` for a
    number from a counter. Small letters: `allreduce` is a whole number of 8 bytes that the ranks agree on, `bcast` and
    `allgather` are for pickled objects.
    """

    calls: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, n_bytes: int) -> None:
        """Count one call."""
        self.calls[name] = self.calls.get(name, 0) + 1
        self.bytes[name] = self.bytes.get(name, 0) + n_bytes

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Return `{name: {"calls": …, "bytes": …}}`."""
        return {name: {"calls": self.calls[name], "bytes": self.bytes[name]} for name in sorted(self.calls)}


#: Those that listen. A context's own: what is counted for one run does not get into the next in the same process.
_listeners: ContextVar[tuple[Traffic, ...]] = ContextVar("listeners", default=())


@contextmanager
def counted() -> Iterator[Traffic]:
    """Count what this rank says within, on any communicator. Not collective."""
    traffic = Traffic()
    before = _listeners.set((*_listeners.get(), traffic))
    try:
        yield traffic
    finally:
        _listeners.reset(before)


def note(comm: MPI.Intracomm, name: str, n_bytes: int) -> None:
    """Count a call with a message of so many bytes. Not collective."""
    if (listeners := _listeners.get()) and comm.Get_size() > 1:
        for traffic in listeners:
            traffic.add(name, n_bytes)


def note_object(comm: MPI.Intracomm, name: str, value: object) -> None:
    """Count a call with a pickled object. Not collective."""
    if _listeners.get() and comm.Get_size() > 1:
        note(comm, name, pickled_bytes(value))


def pickled_bytes(value: object) -> int:
    """Return the size of an object's pickle, and of the arrays in it, which are not copied for that."""
    arrays: list[pickle.PickleBuffer] = []
    return len(pickle.dumps(value, protocol=5, buffer_callback=arrays.append)) + sum(a.raw().nbytes for a in arrays)
