"""Kernels of the engine under the interface of neural-tangents, so that programs written for it run on the engine.

kernel_fn = hpcdistill.neural_tangents.kernel_fn("ConvNet")     # in place of the third result of stax.serial(…)
kernel_fn(x1, x2, "ntk")
"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

from hpcdistill.api.kernel import NeuralKernel
from hpcdistill.errors import ConfigError


class Kernels(NamedTuple):
    """Both kernels of a network."""

    nngp: Any
    ntk: Any


def kernel_fn(
    network: str, w_std: float = math.sqrt(2), b_std: float = 0.1, dtype: str = "float64", backend: str = "auto"
) -> Callable[..., Any]:
    """Return what takes and returns what a `kernel_fn` of `neural_tangents.stax` does.

    Args:
        network, w_std, b_std, dtype, backend: see `hpcdistill.NeuralKernel`.

    Returns:
        `kernel_fn(x1, x2=None, get=None)`: JAX arrays `(n1, n2)`, differentiable; for `get` "ntk" or "nngp" one of
        them, for a tuple of these a named tuple in its order, for None both, as `.nngp` and `.ntk`.

    Examples:
        >>> import numpy as np
        >>> import hpcdistill.neural_tangents
        >>> kernel_fn = hpcdistill.neural_tangents.kernel_fn("conv relu pool flatten dense")
        >>> kernel_fn(np.ones((3, 8, 8, 1), np.float32), None, "ntk").shape
        (3, 3)
    """
    kernels = {kind: NeuralKernel(network, kind, w_std, b_std, None, dtype, backend).jax for kind in Kernels._fields}

    def compute(x1: Any, x2: Any = None, get: str | tuple[str, ...] | None = None) -> Any:
        asked = [get] if isinstance(get, str) else list(get or ())
        if unknown := [kind for kind in asked if kind not in kernels]:
            raise ConfigError(f"get is {unknown[0]!r}. Valid: ntk, nngp, a tuple of these, or None for both.")
        if isinstance(get, str):
            return kernels[get](x1, x2)
        if get is None or tuple(get) == Kernels._fields:
            return Kernels(*(kernels[kind](x1, x2) for kind in Kernels._fields))
        chosen = namedtuple("Kernels", get)  # type: ignore[misc]
        return chosen(*(kernels[kind](x1, x2) for kind in get))

    return compute
