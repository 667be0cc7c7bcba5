"""How this package uses JAX: in 64-bit mode, and on the CPU unless the user says otherwise."""

from __future__ import annotations

import os


def configure_jax() -> None:
    """Set JAX up, before its first use in a process. Not collective.

    64-bit mode is global to the process; float32 arrays stay float32 in it. On a GPU JAX's preallocation would take the
    memory that other backends need, so it stays on the CPU unless `JAX_PLATFORMS` is set.
    """
    import jax

    jax.config.update("jax_enable_x64", True)
    if not os.environ.get("JAX_PLATFORMS"):
        jax.config.update("jax_platforms", "cpu")
