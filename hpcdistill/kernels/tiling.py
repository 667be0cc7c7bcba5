"""Cutting a block of the kernel matrix into tiles."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_MIRROR_ROWS = 256


def tiles(n_rows: int, n_columns: int, rows: int, columns: int, upper: bool = False) -> Iterator[tuple[slice, slice]]:
    """Yield (row range, column range) of all tiles, row by row; the last ones may be smaller.

    Args:
        n_rows, n_columns: size of the block.
        rows, columns: size of a tile, at least 1.
        upper: leave out tiles that lie wholly below the diagonal.

    Not collective.
    """
    for top in range(0, n_rows, rows):
        for left in range(0, n_columns, columns):
            if not upper or left + columns > top:
                yield slice(top, min(top + rows, n_rows)), slice(left, min(left + columns, n_columns))


def mirror_upper(matrix: np.ndarray) -> None:
    """Copy the upper triangle of a square matrix onto the lower one, in place: `A[j, i] = A[i, j]` for i < j.

    What stands in the lower triangle is not read. Not collective.
    """
    n = len(matrix)
    for start in range(0, n, _MIRROR_ROWS):
        stop = min(start + _MIRROR_ROWS, n)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        corner = matrix[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
