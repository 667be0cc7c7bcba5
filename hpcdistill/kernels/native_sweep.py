"""Sweeps of the backend `native`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hpcdistill.kernels.base import Handle, check_cotangent
from hpcdistill.kernels.sweep import MOST_AT_ONCE
from hpcdistill.native import _engine

if TYPE_CHECKING:
    from hpcdistill.kernels.native import NativeBackend

#: Bound on what a sweep keeps for each thread. A support of 100 images of 32×32×3 needs half of it on the ConvNet with
#: AVX-512 in float32, for one vector of targets.
KEPT_BYTES_PER_THREAD = 256 * 2**20
_ALIGNMENT = 64


class NativeSweep:
    """A sweep of the engine: gradients are added up in float64, vector by vector of second images.

    The result is that of `block_vjp` over all of them to the last bit, whatever is kept, if each part but the last is a
    multiple of `at_once`.

    Attributes:
        kept_rows: of how many first images the forward pass is kept.
    """

    def __init__(
        self, backend: NativeBackend, engine: _engine.Engine32 | _engine.Engine64, h1: Handle, *, keep: bool = True
    ) -> None:
        self._backend, self._engine, self._h1 = backend, engine, h1
        self._sums = np.zeros((len(h1), engine.gradient_length))
        self._kept, backend.spare = backend.spare, np.empty(0, np.uint8)
        room = KEPT_BYTES_PER_THREAD * backend.threads // max(1, engine.kept_bytes) if keep else 0
        groups = min(max(room // max(1, len(h1)), backend.threads), max(1, MOST_AT_ONCE // engine.lanes))
        self.at_once = groups * engine.lanes
        self.kept_rows = min(len(h1), room // groups)

    def block(self, h2: Handle) -> np.ndarray:
        """See `Sweep.block`."""
        self.choose(h2)
        result = np.empty((len(self._h1), len(h2)), self._backend.dtype)
        self._engine.block_kept(*engine_arrays(self._h1), *engine_arrays(h2), result, self._kept, self.kept_rows,
                                self._backend.threads)  # fmt: skip
        return result

    def choose(self, h2: Handle) -> None:
        """Make `h2` the part that `add` is for."""
        self._backend.check(self._h1, h2)
        self._h2 = h2
        needed = self.kept_rows * -(-len(h2) // self._engine.lanes) * self._engine.kept_bytes
        if needed > len(self._kept):
            memory = np.empty(needed + _ALIGNMENT, np.uint8)
            self._kept = memory[-memory.ctypes.data % _ALIGNMENT :][:needed]

    def add(self, cotangent: np.ndarray) -> None:
        """See `Sweep.add`."""
        cotangent = check_cotangent(cotangent, self._h1, self._h2)
        cotangent = np.require(cotangent, requirements=["C_CONTIGUOUS", "ALIGNED"])
        pair = (*engine_arrays(self._h1), *engine_arrays(self._h2))
        self._engine.add_gradient(*pair, cotangent, self._kept, self.kept_rows, self._sums, self._backend.threads)

    def finish(self) -> np.ndarray:
        """See `Sweep.finish`."""
        gradient = np.empty(self._h1.images.shape, self._backend.dtype)
        self._engine.finish_gradient(*engine_arrays(self._h1), self._sums, gradient, self._backend.threads)
        self._backend.spare = self._kept
        return gradient


def engine_arrays(handle: Handle) -> tuple[np.ndarray, np.ndarray]:
    """Return pixels and norms, as the engine takes them."""
    return handle.images, handle.per_image[0]
