"""Kernels of a support with targets, part by part, and the gradient of what is made of them.

A step of KIP needs the kernel first, then the gradient of a function of it. A backend that keeps its forward pass in
between need not repeat it; the others do.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from hpcdistill.gpu.device import Device

#: Second images at a time, at most: bounds memory, whatever their number.
MOST_AT_ONCE = 2048


class Sweep(Protocol):
    """`Σ_parts F(K(x1, part))` and its gradient with respect to x1: for each part `block`, then `add`; then `finish`.

    No method communicates.

    Attributes:
        at_once: how many images a part had better have.
    """

    at_once: int

    def block(self, h2: Any) -> Any:
        """Return the kernel matrix of x1 with a part, as `KernelBackend.block` does."""
        ...

    def add(self, cotangent: Any) -> None:
        """Add the gradient of `Σ cotangent ∘ K` of the last part, as `KernelBackend.block_vjp` has it."""
        ...

    def finish(self) -> Any:
        """Return the sum, `(len(h1), h, w, c)` in the backend's dtype."""
        ...


class _Kernels(Protocol):
    dtype: np.dtype

    @property
    def device(self) -> Device | None: ...

    def block(self, h1: Any, h2: Any) -> Any: ...

    def block_vjp(self, h1: Any, h2: Any, cotangent: Any) -> Any: ...


class RepeatedSweep:
    """A sweep of a backend that computes each part's forward pass twice."""

    at_once = MOST_AT_ONCE

    def __init__(self, backend: _Kernels, h1: Any) -> None:
        self._backend, self._h1 = backend, h1
        self._xp = np if backend.device is None else backend.device.xp
        self._sum = self._xp.zeros(h1.images.shape, np.float64)

    def block(self, h2: Any) -> Any:
        """See `Sweep.block`."""
        self._h2 = h2
        return self._backend.block(self._h1, h2)

    def add(self, cotangent: Any) -> None:
        """See `Sweep.add`."""
        self._sum += self._backend.block_vjp(self._h1, self._h2, cotangent)

    def finish(self) -> Any:
        """See `Sweep.finish`."""
        return self._sum.astype(self._backend.dtype)
