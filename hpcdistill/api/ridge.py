"""Kernel ridge regression on one process."""

from __future__ import annotations

import numpy as np


def solve_ridge(kernel: np.ndarray, y: np.ndarray, reg: float) -> np.ndarray:
    """Return `(K + λI)⁻¹ y`, float64, λ = reg · tr(K)/n.

    Args:
        kernel: `(n, n)`, any float type.
        y: `(n, outputs)`.
    """
    from scipy.linalg import cho_factor, cho_solve

    ridged = kernel.astype(np.float64)
    ridged[np.diag_indices_from(ridged)] += reg * np.trace(ridged) / len(ridged)
    return cho_solve(cho_factor(ridged, lower=True, overwrite_a=True), y)
