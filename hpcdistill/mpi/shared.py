"""Arrays of which the ranks of a node keep one copy together, in memory that they share.

Every function is collective over the node's ranks.
"""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np

from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import bcast_object, sum_array

#: Where MPI libraries keep memory that ranks share; small in containers, unless told otherwise.
SHARED_MEMORY = Path("/dev/shm")
#: Left free there for the messages between ranks.
_RESERVE_BYTES = 16 << 20


def has_room(node: MPI.Intracomm, n_bytes: int) -> bool:
    """Return whether the node's ranks can share so many bytes. One rank alone shares with nobody, and always can."""
    if node.Get_size() == 1:
        return True
    left = _left()
    return bcast_object(node, left is None or n_bytes + _RESERVE_BYTES <= left)


def share_array(node: MPI.Intracomm, array: np.ndarray | None) -> np.ndarray:
    """Return a read-only view of `array` on every rank of the node.

    Args:
        node: from `node_communicator`.
        array: on rank 0 of `node`; ignored on the others. One copy exists per node, for as long as the process lives.
    """
    frame = (array.shape, array.dtype) if node.Get_rank() == 0 and array is not None else ((), np.dtype("u1"))
    shape, dtype = bcast_object(node, frame)

    def fill(shared: np.ndarray) -> None:
        if array is not None and node.Get_rank() == 0:
            shared[...] = array

    return fill_shared(node, shape, dtype, fill)


def fill_shared(
    node: MPI.Intracomm, shape: tuple[int, ...], dtype: np.dtype, fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    """Return a read-only array to which each rank of the node has written a part.

    Where there is too little shared memory each rank keeps a copy, and a warning says so.

    Args:
        node: from `node_communicator`.
        fill: called once on every rank with the whole array, to write this rank's part; raises nothing.
    """
    n_bytes = math.prod(shape) * dtype.itemsize
    if node.Get_size() == 1 or not has_room(node, n_bytes):
        array = _copy(node, np.zeros(shape, dtype), n_bytes, fill)
    else:
        array = _shared(node, shape, dtype, n_bytes, fill)
    array.flags.writeable = False
    return array


@contextmanager
def freed_after() -> Iterator[None]:
    """Free the memory that is shared within, where that ends without an error. Collective over all ranks."""
    before = len(_windows)
    yield
    free_windows(before)


def free_windows(but: int = 0) -> None:
    """Free the shared memory, but for the first arrays, before the program ends. Collective over all ranks."""
    while len(_windows) > but:
        window = _windows.pop(but)
        window.Unlock_all()
        window.Free()


_windows: list[MPI.Win] = []


def _shared(
    node: MPI.Intracomm, shape: tuple[int, ...], dtype: np.dtype, n_bytes: int, fill: Callable[[np.ndarray], None]
) -> np.ndarray:
    window = MPI.Win.Allocate_shared(n_bytes if node.Get_rank() == 0 else 0, 1, comm=node)
    memory, _ = window.Shared_query(0)
    shared = np.ndarray(shape, dtype, buffer=cast(Any, memory))
    window.Lock_all()
    fill(shared)
    window.Sync()
    node.Barrier()
    window.Sync()
    _windows.append(window)
    return shared


def _copy(node: MPI.Intracomm, zeros: np.ndarray, n_bytes: int, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """Return what the ranks' parts add up to; what a rank does not write stays 0."""
    fill(zeros)
    if node.Get_size() > 1:
        if node.Get_rank() == 0:
            print(
                f"hpcdistill: warning: {SHARED_MEMORY} of {platform.node()} has {(_left() or 0) / 2**20:.0f} MiB left, "
                f"too little for {n_bytes / 2**20:.0f} MiB of data: each of {node.Get_size()} ranks keeps a copy. "
                "Containers: --shm-size.",
                file=sys.stderr,
                flush=True,
            )
        sum_array(node, zeros)
    return zeros


def _left() -> int | None:
    """Return how many bytes of shared memory are left, None where the system does not bound it in this way."""
    try:
        found = os.statvfs(SHARED_MEMORY)
    except OSError:
        return None
    return found.f_bavail * found.f_frsize
