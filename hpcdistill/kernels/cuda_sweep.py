"""Sweeps of the backend `cuda`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from hpcdistill.kernels.base import Handle, check_cotangent
from hpcdistill.kernels.sweep import MOST_AT_ONCE

if TYPE_CHECKING:
    from hpcdistill.kernels.cuda import CudaBackend

#: Second images whose gradients a block adds up before they are written out: few, so that there are tasks for all
#: blocks to the end, and not a function of the device, so that sums are not.
SLICE = 4

#: Second images that a sweep takes at a time at least: enough for all blocks of a device, whatever is kept.
_FEWEST_AT_ONCE = 128


class CudaSweep:
    """A sweep on a GPU: gradients are added up in float64, slice by slice of second images.

    The result is that of `block_vjp` over all of them to the last bit, whatever is kept, if each part but the last is a
    multiple of `at_once`. Half of the temporary memory is for what is kept.
    """

    def __init__(self, backend: CudaBackend, h1: Handle, *, keep: bool = True) -> None:
        self._backend, self._h1, self._xp = backend, h1, backend.device.xp
        self._sums = self._xp.zeros((len(h1), backend.gradient_size), np.float64)
        pair_bytes = max(1, backend.plane_size * backend.dtype.itemsize)
        pairs = backend.temporary_bytes // 2 // pair_bytes if keep else 0
        self.at_once = min(MOST_AT_ONCE, max(_FEWEST_AT_ONCE, pairs // max(1, len(h1)) // SLICE * SLICE))
        self._n_kept = min(len(h1), pairs // self.at_once)
        self._kept = self._xp.empty(1, backend.dtype)

    def block(self, h2: Handle) -> Any:
        """See `Sweep.block`."""
        self.choose(h2)
        result = self._xp.empty((len(self._h1), len(h2)), self._backend.dtype)
        if result.size:
            self._backend.run_forward(self._h1, h2, 0, result, self._kept, self._n_kept)
        return result

    def choose(self, h2: Handle) -> None:
        """Make `h2` the part that `add` is for."""
        self._backend.check(self._h1, h2)
        self._h2 = h2
        needed = self._n_kept * len(h2) * self._backend.plane_size
        if needed > self._kept.size:
            self._kept = self._xp.empty(needed, self._backend.dtype)

    def add(self, cotangent: Any) -> None:
        """See `Sweep.add`."""
        weights = self._xp.ascontiguousarray(check_cotangent(cotangent, self._h1, self._h2, self._xp))
        if weights.size:
            self._backend.run_adjoint(self._h1, self._h2, weights, self._kept, self._n_kept, self._sums)

    def finish(self) -> Any:
        """See `Sweep.finish`."""
        return self._backend.to_images(self._h1, self._sums)
