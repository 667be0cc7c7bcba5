"""Kernels inside JAX: computed by the engine in a callback, with its gradient as the derivative."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from hpcdistill.errors import ConfigError

if TYPE_CHECKING:
    from hpcdistill.api.kernel import NeuralKernel


class JaxKernel:
    """A `NeuralKernel` as a JAX function: `kernel(x1, x2=None)`. JAX's settings stay as they are.

    It is differentiable once, in reverse mode, and works under `jit`, `grad` and `vmap` (one after the other). What it
    returns has the type of the images; it is computed in that of the `NeuralKernel`.

    Args:
        kernel: what computes it.
    """

    def __init__(self, kernel: NeuralKernel) -> None:
        self._kernel = kernel
        self._two = jax.custom_vjp(self._value)
        self._two.defvjp(self._forward, self._backward)

    def __call__(self, x1: Any, x2: Any = None) -> Any:
        """Return the kernel matrix `(n1, n2)` of images `(n, h, w, c)`, `(n, h, w)` or `(n, d)`.

        Raises:
            ConfigError: a network that only neural-tangents can serve, which is a JAX function already.
        """
        x1 = _floating(x1)
        x2 = x1 if x2 is None else _floating(x2)
        served_by = self._kernel.backend_for(self._kernel.shape_of_images(x1.shape)).name
        if served_by == "tangents":  # it would call JAX from within a callback of JAX
            raise ConfigError(f"{self._kernel.network!r} is served by neural-tangents: use its kernel_fn in JAX.")
        return self._two(x1, x2)

    def _value(self, x1: Any, x2: Any) -> Any:
        result = jax.ShapeDtypeStruct((x1.shape[0], x2.shape[0]), x1.dtype)
        return jax.pure_callback(self._on_host, result, x1, x2, vmap_method="sequential")

    def _forward(self, x1: Any, x2: Any) -> tuple[Any, Any]:
        return self._value(x1, x2), (x1, x2)

    def _backward(self, images: tuple[Any, Any], cotangent: Any) -> Any:
        results = tuple(jax.ShapeDtypeStruct(x.shape, x.dtype) for x in images)
        return jax.pure_callback(self._pull_back, results, *images, cotangent, vmap_method="sequential")

    def _on_host(self, x1: Any, x2: Any) -> np.ndarray:
        first, second = np.asarray(x1), np.asarray(x2)
        return self._kernel(first, None if _same(first, second) else second).astype(first.dtype)

    def _pull_back(self, x1: Any, x2: Any, cotangent: Any) -> tuple[np.ndarray, np.ndarray]:
        first, second = np.asarray(x1), np.asarray(x2)
        one, other = self._kernel.gradient(first, second, np.asarray(cotangent))
        return one.astype(first.dtype), other.astype(second.dtype)


def _floating(x: Any) -> Any:
    array = jnp.asarray(x)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()
