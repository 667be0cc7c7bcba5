"""Every MPI call but start-up and shutdown, sums in the memory of GPUs (`gpu_arrays`), and a counter (`dealing`).

Each function is collective over the communicator it is given.

Messages of more than 2^31 − 1 elements fail in MPI libraries before MPI 4, so arrays travel in pieces. What is sent is
counted where somebody wants to know (`traffic`).

Errors: a rank that fails alone must not leave the others waiting. `agree` makes one rank's exception everybody's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar, cast

import numpy as np

from hpcdistill.errors import HpcDistillError, MemoryShortageError
from hpcdistill.mpi.binding import MPI, pkl5
from hpcdistill.mpi.partition import PIECE_ELEMENTS
from hpcdistill.mpi.traffic import note, note_object

T = TypeVar("T")

#: How long a rank that fails waits for the others to fail alike. On a loaded machine ranks may be seconds apart.
AGREEMENT_SECONDS = 10.0
_MEETING_TAG, _EXCHANGE_TAG = 7, 8


def sum_array(comm: MPI.Intracomm, array: np.ndarray) -> np.ndarray:
    """Add `array` over the ranks, in place, and return it.

    Args:
        comm: communicator; collective.
        array: C-contiguous, same shape and dtype on every rank.
    """
    for piece in pieces(array):
        note(comm, "Allreduce", piece.nbytes)
        comm.Allreduce(MPI.IN_PLACE, piece, op=MPI.SUM)
    return array


def bcast_array(comm: MPI.Intracomm, array: np.ndarray, root: int = 0) -> np.ndarray:
    """Overwrite `array` (C-contiguous, same shape and dtype everywhere) with the root's, and return it. Collective."""
    for piece in pieces(array):
        note(comm, "Bcast", piece.nbytes)
        comm.Bcast(piece, root=root)
    return array


def bcast_object(comm: MPI.Intracomm, value: T, root: int = 0) -> T:
    """Return the root's picklable `value` on every rank. Collective. Arrays inside may be larger than one message."""
    found = (comm if isinstance(comm, pkl5.Intracomm) else pkl5.Intracomm(comm)).bcast(value, root=root)
    note_object(comm, "bcast", found)
    return found


def agree_any(comm: MPI.Intracomm, flag: bool) -> bool:
    """Return whether `flag` is set on any rank. Collective."""
    return bool(greatest(comm, int(flag)))


def greatest(comm: MPI.Intracomm, value: int) -> int:
    """Return the largest of the ranks' whole numbers. Collective."""
    return -_least(comm, -value)


def _least(comm: MPI.Intracomm, value: int) -> int:
    box = np.array([value], np.int64)
    note(comm, "allreduce", box.nbytes)
    comm.Allreduce(MPI.IN_PLACE, box, op=MPI.MIN)
    return int(box[0])


def send_array(comm: MPI.Intracomm, array: np.ndarray, dest: int) -> None:
    """Send a C-contiguous array to `dest`, which calls `receive_array`."""
    for piece in pieces(array):
        note(comm, "Send", piece.nbytes)
        comm.Send(piece, dest=dest)


def receive_array(comm: MPI.Intracomm, array: np.ndarray, source: int) -> np.ndarray:
    """Overwrite `array` (C-contiguous, of the sent one's shape and dtype) with what `send_array` sends; return it."""
    for piece in pieces(array):
        note(comm, "Recv", piece.nbytes)
        comm.Recv(piece, source=source)
    return array


def exchange_arrays(comm: MPI.Intracomm, sent: dict[int, np.ndarray], received: dict[int, np.ndarray]) -> None:
    """Send an array to each of some ranks, and fill those that come from others, at once.

    Args:
        sent, received: by rank, this one included; C-contiguous, of the same sizes and dtype at both ends.
    """
    requests = [comm.Irecv(piece, source=rank, tag=_EXCHANGE_TAG) for rank, array in received.items()
                for piece in pieces(array)]  # fmt: skip
    for rank, array in sent.items():
        for piece in pieces(array):
            note(comm, "Send", piece.nbytes)
            requests.append(comm.Isend(piece, dest=rank, tag=_EXCHANGE_TAG))
    MPI.Request.Waitall(requests)


@contextmanager
def agree(comm: MPI.Intracomm) -> Iterator[None]:
    """Run a block without communication on every rank; if it raises anywhere, raise everywhere. Collective at its end.

    All ranks raise the error of the lowest rank that failed, so that one message reaches the user.
    """
    error: Exception | None = None
    try:
        yield
    except Exception as caught:  # re-raised below, on every rank
        error = caught
    failed = _least(comm, comm.Get_rank() if error is not None else comm.Get_size())
    if failed < comm.Get_size():
        everybodys = bcast_object(comm, _portable(error), root=failed)
        assert everybodys is not None  # the rank that failed has one
        raise everybodys from error


def on_root(comm: MPI.Intracomm, function: Callable[[], T]) -> T:
    """Call `function` on rank 0 and return its (picklable) result on every rank; its error is raised on every rank.

    Collective.
    """
    result: Any = None
    with agree(comm):
        if comm.Get_rank() == 0:
            result = function()
    return bcast_object(comm, result)


def all_meet(comm: MPI.Intracomm) -> bool:
    """Return whether every rank calls this within `AGREEMENT_SECONDS`.

    For a rank that has met an error: the others may have met it, too, or wait in some collective, which this does not
    disturb. After False only `Abort` is left.
    """
    others = [rank for rank in range(comm.Get_size()) if rank != comm.Get_rank()]
    nothing, deadline = bytearray(), MPI.Wtime() + AGREEMENT_SECONDS
    requests = [comm.Isend(nothing, dest=rank, tag=_MEETING_TAG) for rank in others]
    requests += [comm.Irecv(nothing, source=rank, tag=_MEETING_TAG) for rank in others]
    while not MPI.Request.Testall(requests):
        if MPI.Wtime() > deadline:
            return False
        time.sleep(0.01)
    return True


def gather_objects(comm: MPI.Intracomm, value: T) -> list[T]:
    """Return every rank's small picklable `value` in rank order, on every rank. Collective."""
    note_object(comm, "allgather", value)
    return comm.allgather(value)


def wait_quietly(comm: MPI.Intracomm, interval_seconds: float = 1e-3) -> None:
    """Wait until every rank is here, asleep most of the time: the cores are free for ranks that compute. Collective."""
    request = comm.Ibarrier()
    while not request.Test():
        time.sleep(interval_seconds)


def first_ranks(comm: MPI.Intracomm, count: int) -> MPI.Intracomm | None:
    """Return a communicator of the first `count` ranks, None on the others. Collective; the caller frees it."""
    part = comm.Split(0 if comm.Get_rank() < count else MPI.UNDEFINED, comm.Get_rank())
    return None if part == MPI.COMM_NULL else cast(MPI.Intracomm, part)


def node_communicator(comm: MPI.Intracomm) -> MPI.Intracomm:
    """Return the communicator of the ranks that share this node's memory. Collective; the caller frees it."""
    return MPI.Intracomm(comm.Split_type(MPI.COMM_TYPE_SHARED))


def pieces(array: Any, elements: int | None = None) -> Iterator[Any]:
    """Yield views that make up a C-contiguous array, NumPy's or a GPU's, of at most `elements` (a message's) each."""
    elements = elements or PIECE_ELEMENTS
    if not array.flags.c_contiguous:
        raise ValueError(f"arrays must be C-contiguous to be communicated; this one, {array.shape}, is not")
    flat = array.reshape(-1)
    for start in range(0, flat.size, elements):
        yield flat[start : start + elements]


def _portable(error: Exception | None) -> Exception | None:
    """Return an error that can be pickled: ours and plain ones as they are, others by their text."""
    if isinstance(error, MemoryError):
        return MemoryShortageError.here(error)
    if error is None or isinstance(error, HpcDistillError) or type(error) in (ValueError, TypeError):
        return error
    return RuntimeError(f"{type(error).__name__}: {error}")
