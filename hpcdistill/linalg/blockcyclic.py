"""Block-cyclic layout: which rank holds which tile of a distributed matrix. Index arithmetic only, no MPI.

A matrix is cut into tiles of mb×nb (the last ones may be smaller) that are dealt to a p_rows×p_cols grid of processes
like cards: tile (I, J) belongs to process (I mod p_rows, J mod p_cols). Here a 2×3 grid, ranks numbered row by row:

          nb                                            what rank 0 keeps, as one local array
        +---+---+---+---+---+                           +---+---+
     mb | 0 | 1 | 2 | 0 | 1 |                           |0,0|0,3|
        +---+---+---+---+---+                           +---+---+
        | 3 | 4 | 5 | 3 | 4 |                           |2,0|2,3|
        +---+---+---+---+---+                           +---+---+
        | 0 | 1 | 2 | 0 | 1 |
        +---+---+---+---+---+

Local arrays are in Fortran order, as ScaLAPACK reads them. A rank beyond the grid sits at (-1, -1) and holds nothing.
Source: ScaLAPACK Users' Guide, chapter 4 ("Two-dimensional block-cyclic data distribution").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isqrt
from typing import NamedTuple

import numpy as np

#: Block size used where the caller has no reason for another.
DEFAULT_BLOCK = 128
#: On CPUs, support size from which on ranks that are several factor `K_ss` together.
SCALAPACK_FROM = 4096


class Tile(NamedTuple):
    """One tile of this rank: global half-open ranges, and where the tile lies in the local array."""

    rows: range
    cols: range
    local: tuple[slice, slice]

    @property
    def meets_lower(self) -> bool:
        """Whether any element of the tile is on or below the diagonal."""
        return self.rows.stop > self.cols.start


@dataclass(frozen=True)
class BlockCyclic:
    """A matrix of n_rows×n_cols in tiles of mb×nb on a p_rows×p_cols grid, seen from process (my_row, my_col).

    Raises:
        ValueError: a size is negative, a block or the grid is empty, or the process is not in the grid (-1, -1 means
            beyond it) → give sizes ≥ 0, blocks and grid ≥ 1, and a process from `BlockCyclic.of_rank`.
    """

    n_rows: int
    n_cols: int
    mb: int
    nb: int
    p_rows: int
    p_cols: int
    my_row: int
    my_col: int

    def __post_init__(self) -> None:
        if min(self.n_rows, self.n_cols) < 0 or min(self.mb, self.nb, self.p_rows, self.p_cols) < 1:
            raise ValueError(f"sizes must be ≥ 0, blocks and grid ≥ 1: {self}")
        inside = 0 <= self.my_row < self.p_rows and 0 <= self.my_col < self.p_cols
        if not inside and (self.my_row, self.my_col) != (-1, -1):
            raise ValueError(f"the process is neither in the grid nor (-1, -1): {self}")

    @classmethod
    def of_rank(cls, n_rows: int, n_cols: int, mb: int, nb: int, p_rows: int, p_cols: int, rank: int) -> BlockCyclic:
        """Return the layout seen from `rank`, with ranks numbered row by row; ranks beyond the grid hold nothing.

        >>> BlockCyclic.of_rank(3, 5, 1, 1, 2, 3, rank=4).local_shape
        (1, 2)
        """
        my_row, my_col = divmod(rank, p_cols) if 0 <= rank < p_rows * p_cols else (-1, -1)
        return cls(n_rows, n_cols, mb, nb, p_rows, p_cols, my_row, my_col)

    @property
    def descriptor(self) -> tuple[int, int, int, int]:
        """(n_rows, n_cols, mb, nb), as the native layer takes it."""
        return self.n_rows, self.n_cols, self.mb, self.nb

    @property
    def common(self) -> tuple[int, int, int, int, int, int]:
        """Everything but the process: what must be equal on all ranks."""
        return *self.descriptor, self.p_rows, self.p_cols

    @property
    def local_shape(self) -> tuple[int, int]:
        """Shape of this rank's local array."""
        return (
            _extent(self.n_rows, self.mb, self.p_rows, self.my_row),
            _extent(self.n_cols, self.nb, self.p_cols, self.my_col),
        )

    def local_to_global(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the global row and column (two int64 arrays) of each local row and column.

        `full[np.ix_(*layout.local_to_global())]` is this rank's part of a full matrix.
        """
        rows, cols = self.local_shape
        return (
            _global_indices(rows, self.mb, self.p_rows, self.my_row),
            _global_indices(cols, self.nb, self.p_cols, self.my_col),
        )

    def tiles(self) -> Iterator[Tile]:
        """Yield this rank's tiles, column of tiles by column of tiles (the order in memory).

        >>> [(t.rows, t.cols) for t in BlockCyclic.of_rank(5, 2, 2, 2, 2, 1, rank=0).tiles()]
        [(range(0, 2), range(0, 2)), (range(4, 5), range(0, 2))]
        """
        row_pieces = _pieces(self.n_rows, self.mb, self.p_rows, self.my_row)
        for cols, local_cols in _pieces(self.n_cols, self.nb, self.p_cols, self.my_col):
            for rows, local_rows in row_pieces:
                yield Tile(rows, cols, (local_rows, local_cols))

    def zeros(self) -> np.ndarray:
        """Return a zero-filled float64 local array in Fortran order."""
        return np.zeros(self.local_shape, order="F")


def near_square_grid(size: int) -> tuple[int, int]:
    """Return (p_rows, p_cols) with p_rows·p_cols = `size`, p_rows ≤ p_cols, as near to a square as that allows.

    >>> [near_square_grid(size) for size in (1, 2, 6, 7, 12, 16)]
    [(1, 1), (1, 2), (2, 3), (1, 7), (3, 4), (4, 4)]
    """
    if size < 1:
        raise ValueError(f"a grid needs at least one process, not {size}")
    p_rows = next(rows for rows in range(isqrt(size), 0, -1) if size % rows == 0)
    return p_rows, size // p_rows


def _extent(n: int, block: int, p: int, my: int) -> int:
    """Return how many of `n` indices process `my` of `p` holds (ScaLAPACK's NUMROC)."""
    if my < 0:
        return 0
    full_blocks, rest = divmod(n, block)
    rounds, extra = divmod(full_blocks, p)
    return (rounds + (my < extra)) * block + (rest if my == extra else 0)


def _global_indices(extent: int, block: int, p: int, my: int) -> np.ndarray:
    block_number, offset = np.divmod(np.arange(extent, dtype=np.int64), block)
    return (block_number * p + my) * block + offset


def _pieces(n: int, block: int, p: int, my: int) -> list[tuple[range, slice]]:
    """Return (global range, local slice) of each block of process `my`."""
    starts = range(my * block, n, p * block) if my >= 0 else range(0)
    pieces = [range(start, min(start + block, n)) for start in starts]
    return [(piece, slice(i * block, i * block + len(piece))) for i, piece in enumerate(pieces)]
