"""Distributed kernel blocks: which rank evaluates which, and how they are put together.

The support's kernel `K_ss` is cut into tiles that depend on its size alone; the tiles are dealt out over the ranks.
Target rows are split over the ranks in contiguous ranges. Every kernel entry is evaluated once, on one rank.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from hpcdistill.gpu.device import to_host
from hpcdistill.kernels.base import KernelBackend
from hpcdistill.kernels.sweep import MOST_AT_ONCE
from hpcdistill.learning.workspace import Workspace
from hpcdistill.linalg.blockcyclic import BlockCyclic
from hpcdistill.linalg.factor import Progress, untold
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree
from hpcdistill.mpi.partition import Range, block_range, chunk_ranges, square_tiles, support_tile


@dataclass(frozen=True)
class Kernels:
    """The two kernel evaluators of a run: `ss` for the support with itself, `ts` for targets with the support.

    Both compute in one place: on the CPU, or on one GPU.
    """

    ss: KernelBackend
    ts: KernelBackend

    def __post_init__(self) -> None:
        if self.ss.device is not self.ts.device:
            raise ValueError(f"kernels of {self.ss.name} and of {self.ts.name} are in different memories: choose one")


@dataclass(frozen=True)
class Targets:
    """A set of target images, of which each rank holds rows or can fetch them.

    Attributes:
        fetch: takes a half-open range of global rows and returns `(x, y)`: preprocessed images `(m, h, w, c)` and
            labels `(m, classes)`, float64.
        count: number of rows over all ranks.
        report: called with (rows done, rows in all) after each chunk: of this rank in `local_chunks`, else of all.
    """

    fetch: Callable[[int, int], tuple[np.ndarray, np.ndarray]]
    count: int
    report: Progress = untold

    def part(self, start: int, stop: int) -> Targets:
        """Return a half-open range of these targets, which reports nothing."""
        return Targets(lambda a, b: self.fetch(start + a, start + b), stop - start)

    def local_chunks(self, comm: MPI.Intracomm, at_once: int = MOST_AT_ONCE) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield this rank's rows, some at a time. Not collective."""
        start, stop = block_range(self.count, comm.Get_size(), comm.Get_rank())
        for a, b in chunk_ranges(stop - start, at_once):
            yield self.fetch(start + a, start + b)
            self.report(b, stop - start)


def my_tiles(comm: MPI.Intracomm, n: int, *, lower: bool, side: int = 0) -> list[tuple[Range, Range]]:
    """Return the tiles of the support kernel, of this side or `support_tile`, that are this rank's. Not collective."""
    return square_tiles(n, side or support_tile(n), lower=lower)[comm.Get_rank() :: comm.Get_size()]


def support_kernel(comm: MPI.Intracomm, backend: KernelBackend, handle: Any, workspace: Workspace) -> Any:
    """Return `K_ss` `(n, n)` float64, complete and exactly symmetric, in `workspace` on every rank. Collective.

    Each entry is computed on one rank and added to zeros, so that it does not depend on the number of ranks.
    """
    n = len(handle)
    with agree(comm):
        k_ss = workspace.xp.zeros((n, n), np.float64)
        for rows, columns in my_tiles(comm, n, lower=True):
            block = workspace.asarray(evaluate_tile(backend, handle, rows, columns))
            k_ss[slice(*rows), slice(*columns)] = block
            k_ss[slice(*columns), slice(*rows)] = block.T
    return workspace.sum(comm, k_ss)


#: Takes half-open ranges of rows and columns and returns that tile of a kernel matrix, NumPy's. Not collective.
Fetch = Callable[[Range, Range], np.ndarray]


def computed(backend: KernelBackend, handle: Any) -> Fetch:
    """Return what computes tiles of a support's kernel with itself."""
    return lambda rows, columns: to_host(evaluate_tile(backend, handle, rows, columns))


def support_kernel_blockcyclic(
    fetch: Fetch,
    layout: BlockCyclic,
    dtype: DTypeLike = np.float64,
    progress: Progress = untold,
) -> np.ndarray:
    """Return this rank's part of `K_ss`, lower triangle, put in place in block-cyclic layout. Not collective.

    Args:
        progress: hears how many tiles of this rank are there, of how many.

    Returns:
        Fortran-ordered, of `layout.local_shape` and `dtype`; tiles strictly above the diagonal stay zero.
    """
    local = np.zeros(layout.local_shape, dtype, order="F")
    tiles = [tile for tile in layout.tiles() if tile.meets_lower]
    for done, tile in enumerate(tiles, 1):
        local[tile.local] = fetch((tile.rows.start, tile.rows.stop), (tile.cols.start, tile.cols.stop))
        progress(done, len(tiles))
    return local


def evaluate_tile(backend: KernelBackend, handle: Any, rows: Range, columns: Range) -> Any:
    """Return one tile of a support's kernel with itself, as `KernelBackend.block` does. Not collective."""
    return backend.block(handle[slice(*rows)], handle[slice(*columns)])
