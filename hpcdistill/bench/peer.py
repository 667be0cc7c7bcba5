"""neural-tangents as what it is measured against: on the GPU where JAX has one, in its fastest configuration."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from hpcdistill.jax_runtime import single_precision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

    from hpcdistill.bench.cases import Case
    from hpcdistill.kernels.base import KernelBackend
    from hpcdistill.kernels.sweep import RepeatedSweep

#: Backend that is neural-tangents.
PEER = "tangents"
#: What JAX computes on NVIDIA GPUs with.
_GPU_PLUGINS = ("jax_cuda12_plugin", "jax_cuda13_plugin")


def let_jax_use_the_gpu() -> None:
    """Have JAX, which is not imported yet, take the GPU if it can; it allocates as it needs. Not collective."""
    if any(find_spec(name) for name in _GPU_PLUGINS):
        os.environ |= {"JAX_PLATFORMS": "cuda,cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def peers_of(case: Case) -> list[KernelBackend]:
    """Return neural-tangents in float64, which is its fastest on CPUs; on a GPU also in float32. Not collective."""
    import jax

    from hpcdistill.architecture import parse_architecture
    from hpcdistill.kernels.select import choose_backend

    architecture = parse_architecture(case.architecture)
    peers = [choose_backend(architecture, case.shape, "float64", PEER)]
    if jax.default_backend() == "gpu":
        peers.append(SinglePrecision(choose_backend(architecture, case.shape, "float32", PEER)))
    return peers


class SinglePrecision:
    """A backend of JAX outside of its 64-bit mode: all of it computes in float32. See `KernelBackend`."""

    def __init__(self, backend: Any) -> None:
        self.name, self.dtype, self.device, self.target = backend.name, backend.dtype, None, backend.target
        self.temporary_bytes = backend.temporary_bytes
        self._backend = backend

    def prepare(self, images: ArrayLike) -> Any:
        """See `KernelBackend.prepare`."""
        return self._backend.prepare(images)

    def block(self, h1: Any, h2: Any) -> np.ndarray:
        """See `KernelBackend.block`."""
        with single_precision():
            return self._backend.block(h1, h2)

    def block_vjp(self, h1: Any, h2: Any, cotangent: Any) -> np.ndarray:
        """See `KernelBackend.block_vjp`."""
        with single_precision():
            return self._backend.block_vjp(h1, h2, cotangent)

    def sweep(self, h1: Any) -> RepeatedSweep:
        """See `KernelBackend.sweep`."""
        from hpcdistill.kernels.sweep import RepeatedSweep

        return RepeatedSweep(self, h1)
