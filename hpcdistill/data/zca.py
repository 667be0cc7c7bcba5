"""Regularised ZCA whitening of whole images: fitted on training images, applied to any, inverted for viewing.

    v = (x − mean of x) / ‖x − mean of x‖      for each standardised image x, over all its pixels and channels
    C = mean over training images of v vᵀ,     W = (C + zca_reg · tr(C)/d · I)^(−1/2),     ZCA(x) = W v

Not collective: ranks add their `second_moment`s, and one of them takes the root.

Source: appendix on experimental details of arXiv:2107.13034, and the notebooks published with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy  # loads its parts when they are used, which takes a sixth of a second: most runs whiten nothing

from hpcdistill.data.preprocess import Standardisation

#: Matrices of the size of the covariance that exist at the same time while its root is taken.
MATRICES_WHILE_FITTING = 6
#: What is left of a constant image when its mean is subtracted is rounding, below this part of its norm.
_ROUNDING = 1e-12


def normalise(x: np.ndarray) -> np.ndarray:
    """Return images `(n, h, w, c)` as rows `(n, d)` with mean 0 and norm 1; a constant image becomes zeros."""
    rows = x.reshape(len(x), -1)
    centred = rows - rows.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(centred, axis=1, keepdims=True)
    constant = norms <= _ROUNDING * np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, norms))


def second_moment(rows: np.ndarray) -> np.ndarray:
    """Return the sum over rows `(n, d)` of each row's outer product with itself, `(d, d)`."""
    return rows.T @ rows


def whitening_matrix(moment: np.ndarray, n_images: int, reg: float) -> np.ndarray:
    """Return `W` `(d, d)`, symmetric, float64.

    Args:
        moment: `second_moment` of all `n_images` training images; overwritten.
        reg: ridge relative to the mean eigenvalue of the covariance, > 0.

    Error: `W (C + ridge) W` is the identity to 1e-10 (tests/unit/test_zca.py).
    """
    moment /= n_images
    moment[np.diag_indices(len(moment))] += reg * np.trace(moment) / len(moment)
    values, vectors = scipy.linalg.eigh(moment, overwrite_a=True, check_finite=False, driver="evd")
    half = vectors * values**-0.25
    return half @ half.T


@dataclass(frozen=True)
class Zca:
    """Standardisation, normalisation of each image, whitening.

    Attributes:
        standardisation: what comes first.
        matrix: `W` `(d, d)` float64, d = h·w·c; not to be changed.
        reg: the ridge it was made with, relative to the mean eigenvalue.
        display_norm: norm that images are given for viewing, since their own is lost: a training image's, on average.
    """

    standardisation: Standardisation
    matrix: np.ndarray
    reg: float
    display_norm: float

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return raw images `(n, h, w, c)` of any dtype whitened, as float64."""
        return (normalise(self.standardisation.apply(images)) @ self.matrix).reshape(images.shape)

    def display(self, x: np.ndarray) -> np.ndarray:
        """Return whitened images as uint8 to look at: inverted, with average norm and brightness of training images.

        The first call takes O(d³) operations and memory for another matrix.
        """
        rows = scipy.linalg.cho_solve(self._factor, x.reshape(len(x), -1).T).T
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        rows = rows * (self.display_norm / np.where(norms > 0, norms, 1.0))
        return self.standardisation.display(rows.reshape(x.shape))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps of it; the matrix, which is large, is kept once for all of a run's."""
        zca = {"zca_reg": np.array([self.reg]), "display_norm": np.array([self.display_norm])}
        return self.standardisation.arrays() | zca

    @cached_property
    def _factor(self) -> tuple[np.ndarray, bool]:
        return scipy.linalg.cho_factor(self.matrix, check_finite=False)
