"""The kernel of many images, computed tile by tile into a file: `hpcdistill kernel`, and `NeuralKernel.to_hdf5`.

Tiles are dealt out to the ranks as they become free. What a tile is does not depend on who computes it: the file is the
same on any number of ranks, however often it was interrupted.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from hpcdistill.attempt import StopSignal
from hpcdistill.errors import CheckpointError, StopRequested
from hpcdistill.gpu.device import to_host
from hpcdistill.io.kernel_file import KernelFile
from hpcdistill.kernels.base import KernelBackend
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, gather_objects, greatest, on_root
from hpcdistill.mpi.dealing import dealing
from hpcdistill.mpi.partition import block_range

#: Images of tiles that were computed last, and their norms, are kept up to so many bytes.
_KEPT_BYTES = 1 << 30

Fetch = Callable[[int, int], np.ndarray]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Images:
    """The images of a matrix.

    Attributes:
        rows, columns: return those of a half-open range of rows or columns, `(n, h, w, c)`; the same function where
            they are the same images.
        shape: `(h, w, c)`.
    """

    rows: Fetch
    columns: Fetch
    shape: tuple[int, int, int]


def fill(
    comm: MPI.Intracomm,
    file: KernelFile,
    images: Images,
    backend: KernelBackend,
    say: Callable[[str], None],
    progress: Progress,
    asked: StopSignal | None = None,
) -> None:
    """Compute the tiles that are not there. Collective.

    Args:
        asked: hears the signals at which it is to end early.

    Raises:
        StorageError: on every rank; tiles that were written stay.
        StopRequested: on every rank; the same.
    """
    there = on_root(comm, lambda: len(file.tiles()) - len(file.missing()))
    damaged = _damaged(comm, file, progress)
    if damaged and file.is_compressed:
        raise CheckpointError(
            f"{file.path}: {damaged} of its tiles are damaged, and it is compressed, so that they cannot be computed "
            "again in their places. Remove it, and start the same command again."
        )
    if damaged:
        say(f"{damaged} of {there} tiles in {file.path} are damaged, and computed again")
    missing = on_root(comm, file.missing)
    if not missing:
        return
    total = len(file.tiles())
    if there - damaged:
        say(f"{total - len(missing)} of {total} tiles are there")
    prepared = _prepared(file, images, backend)
    with agree(comm), dealing(comm, len(missing)) as numbers:
        try:
            for number in numbers:
                progress(total - len(missing) + number, total)
                rows, columns = missing[number]
                file.write(
                    missing[number], to_host(backend.block(prepared("rows", rows), prepared("columns", columns)))
                )
                if asked is not None and asked.number:
                    numbers.stop()
        except BaseException:
            numbers.stop()
            raise
        file.flush()
    left = on_root(comm, lambda: len(file.missing()))
    if (number := greatest(comm, asked.number if asked else 0)) and left:
        raise StopRequested(
            f"stopped by {signal.Signals(number).name}: {total - left} of {total} tiles are there. The same command "
            "goes on."
        )
    progress(total, total)


def _damaged(comm: MPI.Intracomm, file: KernelFile, progress: Progress) -> int:
    """Look at each tile that is there, and take what is damaged for missing; return how many are. Collective."""
    damaged = 0
    with agree(comm):
        checksums = file.checksums()
        there = list(zip(*np.nonzero(checksums), strict=True))
        start, stop = block_range(len(there), comm.Get_size(), comm.Get_rank())
        for number, (i, j) in enumerate(there[start:stop]):
            progress(number, stop - start)
            if not file.is_intact((i, j), int(checksums[i, j])):
                if not file.is_compressed:
                    file.forget((i, j))
                damaged += 1
    return sum(gather_objects(comm, damaged))


def _prepared(file: KernelFile, images: Images, backend: KernelBackend) -> Callable[[str, int], Any]:
    """Return a function that gives handles of the images of a row or a column of tiles, and keeps those used last."""
    each = file.tile * 3 * int(np.prod(images.shape)) * backend.dtype.itemsize
    fetch = {"rows": images.rows, "columns": images.columns}
    ends = dict(zip(fetch, file.shape, strict=True))

    @lru_cache(maxsize=max(4, _KEPT_BYTES // max(1, each)))
    def prepare(which: str, number: int) -> Any:
        start = number * file.tile
        return backend.prepare(fetch[which](start, min(start + file.tile, ends[which])))

    same = images.rows is images.columns
    return lambda which, number: prepare("rows" if same else which, number)
