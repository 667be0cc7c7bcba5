"""How this package uses JAX: in 64-bit mode, and on the CPU unless the user says otherwise."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager


def configure_jax() -> None:
    """Set JAX up, before its first use in a process. Not collective.

    64-bit mode is global to the process; float32 arrays stay float32 in it. On a GPU JAX's preallocation would take the
    memory that other backends need, so it stays on the CPU unless `JAX_PLATFORMS` is set.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")


def single_precision() -> AbstractContextManager[None]:
    """Return a context in which this thread computes in float32, scalars of NumPy included. Not collective.

    Functions are compiled for it apart. On the CPU float32 convolutions, their gradients too, go to Eigen; those of
    float64 that are zero-padded are what XLA compiles wrong (see `kernels.tangents_convolution`).
    """
    configure_jax()
    import jax

    return jax.enable_x64(False)
