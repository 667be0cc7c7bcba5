"""Kernel ridge regression with the kernels of infinitely wide networks, as scikit-learn's estimators."""

from __future__ import annotations

import math
from typing import Any, Self

import numpy as np

try:
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(f"{error}: the estimators are scikit-learn's. pip install 'hpcdistill[sklearn]'") from None

from hpcdistill.api.kernel import NeuralKernel
from hpcdistill.api.ridge import solve_ridge


class _NeuralKernelRidge(BaseEstimator):
    """What both share: see `NeuralKernelRegressor`."""

    def __init__(
        self,
        network: str = "FC1",
        *,
        reg: float = 1e-6,
        kind: str = "ntk",
        w_std: float = math.sqrt(2),
        b_std: float = 0.1,
        image_shape: tuple[int, int, int] | None = None,
        dtype: str = "float64",
        backend: str = "auto",
    ) -> None:
        self.network, self.reg, self.kind = network, reg, kind
        self.w_std, self.b_std, self.image_shape = w_std, b_std, image_shape
        self.dtype, self.backend = dtype, backend

    def _solve(self, x: np.ndarray, y: np.ndarray) -> None:
        """Factor the kernel of the training data and solve for the weights of `y` `(n, outputs)`."""
        if not 0 <= self.reg < math.inf:
            raise ValueError(f"reg must be a number of at least 0, not {self.reg!r}.")
        self.kernel_ = NeuralKernel(self.network, self.kind, self.w_std, self.b_std, self.image_shape, self.dtype,
                                    self.backend)  # fmt: skip
        self.x_fit_, self.dual_coef_ = x, solve_ridge(self.kernel_(x), y, self.reg)

    def _evaluate(self, x: Any) -> np.ndarray:
        check_is_fitted(self)
        x = validate_data(self, x, reset=False, allow_nd=True)
        return self.kernel_(x, self.x_fit_).astype(np.float64) @ self.dual_coef_

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags


class NeuralKernelRegressor(RegressorMixin, _NeuralKernelRidge):
    """Ridge regression with the exact kernel of an infinitely wide network.

    Args:
        network, kind, w_std, b_std, image_shape, dtype, backend: see `hpcdistill.NeuralKernel`.
        reg: ridge relative to the mean diagonal of the kernel of the training data.

    Examples:
        >>> import numpy as np
        >>> from hpcdistill import NeuralKernelRegressor
        >>> x = np.linspace(-1, 1, 20)[:, None]
        >>> model = NeuralKernelRegressor("FC2").fit(x, np.sin(x[:, 0]))
        >>> bool(model.score(x, np.sin(x[:, 0])) > 0.99)
        True
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, x: Any, y: Any) -> Self:
        """Fit to images or rows `x` and targets `y` `(n,)` or `(n, outputs)`."""
        x, y = validate_data(self, x, y, allow_nd=True, multi_output=True, y_numeric=True)
        self._one_output = y.ndim == 1
        self._solve(x, y.reshape(len(y), -1).astype(np.float64))
        return self

    def predict(self, x: Any) -> np.ndarray:
        """Return predictions, `(n,)` or `(n, outputs)`."""
        found = self._evaluate(x)
        return found[:, 0] if self._one_output else found


class NeuralKernelClassifier(ClassifierMixin, _NeuralKernelRidge):
    """Classification by ridge regression on centred one-hot labels, as the papers evaluate distilled sets.

    Args:
        network, kind, w_std, b_std, image_shape, dtype, backend: see `hpcdistill.NeuralKernel`.
        reg: ridge relative to the mean diagonal of the kernel of the training data.

    Examples:
        >>> from sklearn.datasets import load_digits
        >>> from hpcdistill import NeuralKernelClassifier
        >>> images, labels = load_digits(return_X_y=True)
        >>> model = NeuralKernelClassifier("conv relu pool flatten dense", image_shape=(8, 8, 1))
        >>> bool(model.fit(images[:200] / 16, labels[:200]).score(images[200:400] / 16, labels[200:400]) > 0.9)
        True
    """

    def fit(self, x: Any, y: Any) -> Self:
        """Fit to images or rows `x` and classes `y` `(n,)`, of any type that can be sorted."""
        x, y = validate_data(self, x, y, allow_nd=True)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("Classifier can't train when only one class is present: 1 class was found.")
        self._solve(x, np.eye(len(self.classes_))[numbers] - 1 / len(self.classes_))
        return self

    def decision_function(self, x: Any) -> np.ndarray:
        """Return predictions of the labels, `(n, classes)`; for two classes that of the second, `(n,)`."""
        found = self._evaluate(x)
        return found[:, 1] if len(self.classes_) == 2 else found

    def predict(self, x: Any) -> np.ndarray:
        """Return the classes with the largest prediction, `(n,)`."""
        found = self._evaluate(x)
        return self.classes_[found.argmax(axis=1)]
