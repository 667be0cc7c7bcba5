"""Sweeps of the backend `fc`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpcdistill.kernels.base import Handle, check_pair
from hpcdistill.kernels.relu_chain import ReluRecord
from hpcdistill.kernels.sweep import MOST_AT_ONCE, RepeatedSweep

if TYPE_CHECKING:
    from hpcdistill.kernels.fully_connected import FullyConnectedBackend

#: Bound on what a sweep keeps between `block` and `add`.
KEPT_BYTES = 64 * 2**20
#: Arrays that a tile keeps for each ReLU, and second images that a sweep has at a time, at least.
_KEPT_ARRAYS, _FEWEST_AT_ONCE = 4, 256

#: Rows and columns of a tile, its entries, and what `ReluChain.reverse` needs of it.
TapedTile = tuple[slice, slice, np.ndarray, list[ReluRecord]]


def make_sweep(backend: FullyConnectedBackend, h1: Handle, n_relu: int) -> RepeatedSweep:
    """Return a sweep that keeps the forward pass of enough second images to be worth it, or else computes it twice."""
    bytes_each = _KEPT_ARRAYS * n_relu * backend.dtype.itemsize * len(h1)
    at_once = min(MOST_AT_ONCE, KEPT_BYTES // max(1, bytes_each))
    return KeptSweep(backend, h1, at_once) if at_once >= _FEWEST_AT_ONCE else RepeatedSweep(backend, h1)


class KeptSweep(RepeatedSweep):
    """A sweep that keeps each part's forward pass; the result is that of `RepeatedSweep` to the last bit."""

    def __init__(self, backend: FullyConnectedBackend, h1: Handle, at_once: int) -> None:
        super().__init__(backend, h1)
        self._fc, self.at_once = backend, at_once
        self._taped: list[TapedTile] | None = None

    def block(self, h2: Handle) -> np.ndarray:
        """See `Sweep.block`."""
        self._taped = None  # before the next is made: never two are kept
        if self._h1.is_same_rows(h2):  # of which half the tiles are enough
            return super().block(h2)
        check_pair(self._h1, h2)
        self._h2, result = h2, np.empty((len(self._h1), len(h2)), self._fc.dtype)
        self._taped = list(self._fc.taped(self._h1, h2))
        for rows, columns, tile, _ in self._taped:
            result[rows, columns] = tile
        return result

    def add(self, cotangent: np.ndarray) -> None:
        """See `Sweep.add`."""
        if self._taped is None:
            super().add(cotangent)
        else:
            self._sum += self._fc.pull_back(self._h1, self._h2, cotangent, self._taped)
