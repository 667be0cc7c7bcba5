"""Kernel ridge regression on one process."""

from __future__ import annotations

import numpy as np

from hpcdistill.errors import NumericalError


def solve_ridge(kernel: np.ndarray, y: np.ndarray, reg: float) -> np.ndarray:
    """Return `(K + λI)⁻¹ y`, float64, λ = reg · tr(K)/n.

    Args:
        kernel: `(n, n)`, any float type.
        y: `(n, outputs)`.

    Raises:
        NumericalError: two images are equal, or nearly so, and `reg` is too small.
    """
    from scipy.linalg import LinAlgError, cho_factor, cho_solve

    ridged = kernel.astype(np.float64)
    ridged[np.diag_indices_from(ridged)] += reg * np.trace(ridged) / len(ridged)
    try:
        return cho_solve(cho_factor(ridged, lower=True, overwrite_a=True), y)
    except LinAlgError as error:
        raise NumericalError(f"The kernel of {len(kernel)} images with reg={reg:g} is not positive definite ({error}): "
                             "images may be equal. Raise reg.") from None  # fmt: skip
