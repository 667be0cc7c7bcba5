"""Cholesky factorisation of a matrix that lies in this rank's GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.gpu.device import Device, to_host
from hpcdistill.linalg.factor import Factor, require_matrix


class GpuCholesky(Factor):
    """Factorise A = L Lᵀ on a GPU, for A symmetric positive definite. Not collective.

    Args:
        device: where the matrix is.
        matrix: A, (n, n) float64, complete, on the device; left as it is. As much memory again is needed.

    Raises:
        NotFiniteError: a NaN or infinite entry → look at the kernel parameters and at the images.
        NotPositiveDefiniteError: a leading minor is not positive → raise the regularisation, or compute the kernel in
            float64.

    Error bound: as `ReplicatedCholesky`, with which tests/unit/linalg/test_gpu_cholesky.py compares.
    Source: potrf of cuSOLVER and trsm of cuBLAS, through CuPy.
    """

    def __init__(self, device: Device, matrix: Any) -> None:
        self._device = device
        n = len(matrix)
        if not device.xp.isfinite(matrix).all():
            raise NotFiniteError(
                f"the {n}×{n} matrix to factorise has NaN or infinite entries: look at the kernel parameters and at "
                "the support images."
            )
        try:
            self._lower = device.cholesky(matrix)
        except np.linalg.LinAlgError:
            raise NotPositiveDefiniteError(_first_minor(device, matrix), n) from None

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return A⁻¹ rhs in the host's memory.

        Args:
            rhs: (n, k) float64, NumPy's, left as it is.

        Returns:
            (n, k) float64.

        Raises:
            ValueError: `rhs` is not a float64 matrix of n rows.
        """
        require_matrix(rhs, "the right-hand side", len(self._lower))
        if rhs.size == 0:
            return np.zeros(rhs.shape)
        half = self._device.solve_triangular(self._lower, self._device.xp.asarray(rhs), transposed=False)
        return to_host(self._device.solve_triangular(self._lower, half, transposed=True))


def _first_minor(device: Device, matrix: Any) -> int:
    """Return the order of the first leading minor of `matrix` that is not positive, by bisection; there is one."""
    good, bad = 0, len(matrix)
    while bad - good > 1:
        middle = (good + bad) // 2
        try:
            device.cholesky(matrix[:middle, :middle])
            good = middle
        except np.linalg.LinAlgError:
            bad = middle
    return bad
