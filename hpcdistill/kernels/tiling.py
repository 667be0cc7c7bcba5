"""Cutting a block of the kernel matrix into tiles."""

from __future__ import annotations

from collections.abc import Iterator


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
