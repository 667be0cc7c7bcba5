"""A kernel matrix that is multiplied tile by tile, as much of it as there is memory for kept, the rest made anew.

A tile comes from memory, from a file, or is computed: whoever makes the operator says how.
"""

from __future__ import annotations

import numpy as np

from hpcdistill.gpu.device import to_host
from hpcdistill.kernels.base import KernelBackend
from hpcdistill.learning.assemble import Fetch, my_tiles
from hpcdistill.linalg.factor import Progress, untold
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, sum_array
from hpcdistill.mpi.partition import Range, block_range, chunk_ranges

#: Rows of a tile that are multiplied together: in float64, they fit a core's cache.
_STRIP = 256
#: Side of a tile: large enough for BLAS and for an engine, small enough to be shared out.
TILE = 1024

#: Images whose kernel with each other is computed for the diagonal: few, but a vector of an engine is used.
_DIAGONAL_AT_ONCE = 8


class KernelOperator:
    """A symmetric kernel matrix K `(n, n)` as a function: `multiply`. Making one is not collective.

    Args:
        comm: communicator, over whose ranks the tiles of the lower triangle are dealt out in turn.
        n: rows of K.
        fetch: takes half-open ranges of rows and columns and returns that tile, float32 or float64. Not collective.
        keep_bytes: how much of its tiles each rank keeps after their first use.
        progress: hears how many of this rank's tiles are done of those that have to be made.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        n: int,
        fetch: Fetch,
        keep_bytes: int,
        progress: Progress = untold,
    ) -> None:
        self._comm, self._n, self._fetch, self._room, self._progress = comm, n, fetch, keep_bytes, progress
        self._tiles = my_tiles(comm, n, lower=True, side=TILE)
        self._kept: dict[tuple[Range, Range], np.ndarray] = {}

    @property
    def kept_share(self) -> float:
        """Part of this rank's tiles that is in memory."""
        return len(self._kept) / len(self._tiles) if self._tiles else 1.0

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """Return K x, `(n, k)` float64, for `x` `(n, k)`; both are the same on every rank. Collective."""
        columns_of_x, product, made = np.ascontiguousarray(x.T), np.zeros(x.shape[::-1]), 0
        to_make = len(self._tiles) - len(self._kept)
        with agree(self._comm):
            for rows, columns in self._tiles:
                is_kept = (rows, columns) in self._kept
                tile, i, j = self._tile(rows, columns), slice(*rows), slice(*columns)
                _add(tile, columns_of_x[:, i], columns_of_x[:, j], product[:, i], product[:, j], rows != columns)
                if not is_kept:
                    made += 1
                    self._progress(made, to_make)
        return np.ascontiguousarray(sum_array(self._comm, product).T)

    def _tile(self, rows: Range, columns: Range) -> np.ndarray:
        if (kept := self._kept.get((rows, columns))) is not None:
            return kept
        tile = self._fetch(rows, columns)
        if tile.nbytes <= self._room:
            self._room -= tile.nbytes
            self._kept[rows, columns] = tile
        return tile


def _add(
    tile: np.ndarray, x_i: np.ndarray, x_j: np.ndarray, y_i: np.ndarray, y_j: np.ndarray, is_off_diagonal: bool
) -> None:
    """Add `x_jᵀ tileᵀ` to y_i and, where the mirror image of the tile is another, `x_iᵀ tile` to y_j, in float64."""
    for start in range(0, len(tile), _STRIP):
        here = slice(start, start + _STRIP)
        strip = tile[here].astype(np.float64, copy=False)
        y_i[:, here] += x_j @ strip.T
        if is_off_diagonal:
            y_j += x_i[:, here] @ strip


def kernel_diagonal(comm: MPI.Intracomm, backend: KernelBackend, x: np.ndarray) -> np.ndarray:
    """Return the kernel of each image with itself, `(n,)` float64, the same on every rank. Collective.

    Args:
        x: `(n, h, w, c)`, preprocessed, the same on every rank.
    """
    diagonal, (start, stop) = np.zeros(len(x)), block_range(len(x), comm.Get_size(), comm.Get_rank())
    with agree(comm):
        for a, b in chunk_ranges(stop - start, _DIAGONAL_AT_ONCE):
            some = backend.prepare(x[start + a : start + b])
            diagonal[start + a : start + b] = to_host(backend.block(some, some)).diagonal()
    return sum_array(comm, diagonal)
