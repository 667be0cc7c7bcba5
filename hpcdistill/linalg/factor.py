"""The face that every factorisation shares: `factor.solve(rhs)`, and `close` or a `with` block at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Protocol, Self

import numpy as np

#: Hears how much is done, of how much.
Progress = Callable[[int, int], None]


def untold(done: int, total: int) -> None:
    """Hear of progress, and do nothing."""


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


class Shiftable(Protocol):
    """A symmetric n×n matrix K that is factored with one shift of its diagonal after another.

    Attributes:
        n: rows of K.
        diagonal: of K, `(n,)` float64.
    """

    n: int
    diagonal: np.ndarray

    def factor(self, shift: float, progress: Progress = untold) -> Factor:
        """Return the Cholesky factor of K + shift·I, in use until the next is asked for."""
        ...

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """Return K x, `(n, k)` float64."""
        ...


def require_matrix(
    array: np.ndarray, name: str, n_rows: int | None = None, dtypes: tuple[str, ...] = ("float64",)
) -> None:
    """Raise ValueError unless `array` is a matrix of one of some types, of `n_rows` rows if given. Not collective."""
    if not isinstance(array, np.ndarray) or array.dtype not in dtypes or array.ndim != 2:
        kind = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
        raise ValueError(f"{name} must be a {' or '.join(dtypes)} matrix with two axes, not {kind}")
    if n_rows is not None and array.shape[0] != n_rows:
        raise ValueError(f"{name} has shape {array.shape} but the matrix has {n_rows} rows")
