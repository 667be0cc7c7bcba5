"""Triangles of symmetric matrices."""

from __future__ import annotations

import numpy as np

#: Rows that are copied together.
_ROWS = 256


def mirror_upper(matrix: np.ndarray) -> None:
    """Copy the upper triangle of a square matrix onto the lower one, in place: `A[j, i] = A[i, j]` for i < j.

    What stands in the lower triangle is not read. Not collective.
    """
    n = len(matrix)
    for start in range(0, n, _ROWS):
        stop = min(start + _ROWS, n)
        matrix[stop:, start:stop] = matrix[start:stop, stop:].T
        corner = matrix[start:stop, start:stop]
        corner[:] = np.triu(corner) + np.triu(corner, 1).T
