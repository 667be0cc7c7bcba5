"""The face that every factorisation shares: `factor.solve(rhs)`, and `close` or a `with` block at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import numpy as np


class Factor(ABC):
    """A factorised n×n matrix A. Whoever makes one solves with it and closes it, wherever it is stored."""

    @abstractmethod
    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return A⁻¹ rhs, for `rhs` (n, k) float64."""

    def close(self) -> None:
        """Free what the factor holds outside of Python's memory. A second call does nothing."""
        return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def require_matrix(array: np.ndarray, name: str, n_rows: int | None = None) -> None:
    """Raise ValueError unless `array` is a float64 matrix, of `n_rows` rows if given. Not collective."""
    if not isinstance(array, np.ndarray) or array.dtype != np.float64 or array.ndim != 2:
        kind = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} must be a float64 matrix with two axes, not {kind}")
    if n_rows is not None and array.shape[0] != n_rows:
        raise ValueError(f"{name} has shape {array.shape} but the matrix has {n_rows} rows")
