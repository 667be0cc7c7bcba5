"""A symmetric matrix that this process holds entirely, factored with one shift of its diagonal after another."""

from __future__ import annotations

import numpy as np

from hpcdistill.linalg.factor import Factor, Progress, untold
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.triangles import mirror_upper

#: Rows multiplied together: bounds the temporary memory.
_ROWS_AT_ONCE = 512


class SymmetricWhole:
    """What `SymmetricTiles` is over ranks, in one array. Not collective.

    Args:
        matrix: K, `(n, n)` float64 or float32, Fortran order, on and below the diagonal. Taken over: factors take the
            lower triangle and the diagonal, the upper triangle keeps K.

    Attributes:
        n: rows of K.
        diagonal: of K, `(n,)` float64.
    """

    def __init__(self, matrix: np.ndarray) -> None:
        self.n, self._matrix = len(matrix), matrix
        self.diagonal = matrix.diagonal().astype(np.float64)
        mirror_upper(matrix.T)
        self._is_spent = False

    def factor(self, shift: float, progress: Progress = untold) -> Factor:
        """Return the Cholesky factor of K + shift·I, in use until the next is asked for. See `SymmetricTiles`."""
        if self._is_spent:
            mirror_upper(self._matrix)
        self._is_spent = True
        np.fill_diagonal(self._matrix, self.diagonal + shift)
        return ReplicatedCholesky(self._matrix, overwrite=True, progress=progress)

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """Return K x, `(n, k)` float64, for `x` `(n, k)` float64."""
        product = self.diagonal[:, None] * x
        for start in range(0, self.n, _ROWS_AT_ONCE):
            here, right = slice(start, start + _ROWS_AT_ONCE), slice(start + _ROWS_AT_ONCE, None)
            tile, strip = np.triu(self._matrix[here, here], 1), self._matrix[here, right]
            product[here] += tile @ x[here] + tile.T @ x[here] + strip @ x[right]
            product[right] += strip.T @ x[here]
        return product
