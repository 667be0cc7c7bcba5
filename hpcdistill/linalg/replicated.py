"""Cholesky factorisation of a matrix that this process holds entirely."""

from __future__ import annotations

import numpy as np
import scipy  # loads its parts when they are used, which takes a sixth of a second: many a command factors nothing

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.linalg.factor import Factor, Progress, require_matrix, untold

#: Rows looked at together when searching for NaN: bounds the temporary memory.
_ROWS_AT_ONCE = 512
#: Rows up to which LAPACK factors a matrix in one call. From 16,000 on that of OpenBLAS 0.3.30, SciPy's, ends in a
#: segmentation fault on several threads.
_MOST_BY_LAPACK = 12_000
#: Columns factored together in larger ones.
_BLOCK = 1024


class ReplicatedCholesky(Factor):
    """Factorise A = L Lᵀ with LAPACK, for A symmetric positive definite. Not collective.

    Args:
        matrix: A, (n, n) float64 or float32, C or Fortran order. Only its lower triangle is read; the upper may hold
            anything, and stays as it is.
        overwrite: allow the factor to take the memory of `matrix`, whose content is then lost.
        progress: hears of it, from 12,000 rows on.

    Raises:
        ValueError: not a square matrix of these types → convert it first.
        NotFiniteError: a NaN or infinite entry → look at the kernel parameters and at the images.
        NotPositiveDefiniteError: a leading minor is not positive; `minor` is LAPACK's `info` → raise the
            regularisation, or compute the kernel in float64.

    Error bound: ‖A x − b‖ ≤ n ε (‖A‖ ‖x‖ + ‖b‖) on the matrices of tests/unit/linalg/test_replicated_cholesky.py; the
    proven one is larger: Higham, Accuracy and Stability of Numerical Algorithms, theorem 10.4.
    Source: POTRF and POTRS of LAPACK, through SciPy.
    """

    def __init__(self, matrix: np.ndarray, overwrite: bool = False, progress: Progress = untold) -> None:
        require_matrix(matrix, "the matrix", dtypes=("float64", "float32"))
        n = len(matrix)
        if matrix.shape != (n, n):
            raise ValueError(f"Cholesky needs a square matrix, not {matrix.shape}")
        _require_finite_lower(matrix)
        # The lower triangle in C order is the upper triangle in Fortran order: no copy is needed for either.
        self._lower = not matrix.flags.c_contiguous
        columns = matrix if self._lower else matrix.T
        potrf, self._potrs = scipy.linalg.get_lapack_funcs(("potrf", "potrs"), dtype=matrix.dtype)
        if n <= _MOST_BY_LAPACK:
            self._factor, info = potrf(columns, lower=self._lower, clean=False, overwrite_a=overwrite)
        else:
            self._factor = columns if overwrite else columns.copy(order="F")
            info = _factor_by_blocks(self._factor if self._lower else self._factor.T, progress)
        if info > 0:
            raise NotPositiveDefiniteError(info, n)

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return A⁻¹ rhs.

        Args:
            rhs: (n, k) float64, left as it is.

        Returns:
            (n, k) float64, to the accuracy of the factor's type.

        Raises:
            ValueError: `rhs` is not a float64 matrix of n rows.
        """
        require_matrix(rhs, "the right-hand side", len(self._factor))
        if rhs.size == 0:
            return np.zeros(rhs.shape)
        solution, _ = self._potrs(self._factor, rhs.astype(self._factor.dtype, copy=False), lower=self._lower)
        return solution.astype(np.float64, copy=False)


def _factor_by_blocks(matrix: np.ndarray, progress: Progress) -> int:
    """Overwrite the lower triangle by its Cholesky factor, block column by block column, as LAPACK does it in one.

    Returns:
        The first minor that is not positive, or 0.
    """
    (potrf,) = scipy.linalg.get_lapack_funcs(("potrf",), (matrix,))
    (trsm,) = scipy.linalg.get_blas_funcs(("trsm",), (matrix,))
    n = len(matrix)
    for start in range(0, n, _BLOCK):
        progress((3 * n - 2 * start) * start**2, n**3)
        here, below = slice(start, start + _BLOCK), slice(start + _BLOCK, None)
        left = matrix[here, :start]
        tile = np.tril(matrix[here, here] - left @ left.T)
        lower, info = potrf(tile, lower=True, clean=True)
        if info:
            return start + info
        matrix[here, here] = lower + np.triu(matrix[here, here], 1)
        rest = matrix[below, here] - matrix[below, :start] @ left.T
        matrix[below, here] = trsm(1.0, lower, np.asfortranarray(rest), side=1, lower=1, trans_a=1, overwrite_b=1)
    progress(n**3, n**3)
    return 0


def _require_finite_lower(matrix: np.ndarray) -> None:
    for start in range(0, len(matrix), _ROWS_AT_ONCE):
        rows = matrix[start : start + _ROWS_AT_ONCE]
        if not np.isfinite(np.tril(rows, start)).all():
            raise NotFiniteError(
                f"the {len(matrix)}×{len(matrix)} matrix to factorise has NaN or infinite entries in rows "
                f"{start}–{start + len(rows) - 1}: look at the kernel parameters and at the support images."
            )
