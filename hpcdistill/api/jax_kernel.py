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
        self._one = jax.custom_vjp(self._value)
        self._one.defvjp(self._forward_of_one, self._backward_of_one)
        self._two = jax.custom_vjp(self._value)
        self._two.defvjp(self._forward_of_two, self._backward_of_two, symbolic_zeros=True)

    def __call__(self, x1: Any, x2: Any = None) -> Any:
        """Return the kernel matrix `(n1, n2)` of images `(n, h, w, c)`, `(n, h, w)` or `(n, d)`.

        Raises:
            ConfigError: a network that only neural-tangents can serve, which is a JAX function already.
        """
        x1 = _floating(x1)
        served_by = self._kernel.backend_for(self._kernel.shape_of_images(x1.shape)).name
        if served_by == "tangents":  # it would call JAX from within a callback of JAX
            raise ConfigError(f"{self._kernel.network!r} is served by neural-tangents: use its kernel_fn in JAX.")
        return self._one(x1) if x2 is None else self._two(x1, _floating(x2))

    def _value(self, *images: Any) -> Any:
        result = jax.ShapeDtypeStruct((images[0].shape[0], images[-1].shape[0]), images[0].dtype)
        return jax.pure_callback(self._on_host, result, *images, vmap_method="sequential")

    def _on_host(self, *images: Any) -> np.ndarray:
        first, *others = map(np.asarray, images)
        second = None if not others or _same(first, others[0]) else others[0]
        return self._kernel(first, second).astype(first.dtype)

    def _forward_of_one(self, x: Any) -> tuple[Any, Any]:
        return self._value(x), x

    def _backward_of_one(self, x: Any, cotangent: Any) -> Any:
        return (self._gradient_of_first(cotangent, x),)

    def _forward_of_two(self, x1: Any, x2: Any) -> tuple[Any, Any]:
        """Return the kernel, the images, and of each of the two whether its gradient is asked for: () if so."""
        asked = tuple(() if x.perturbed else None for x in (x1, x2))
        return self._value(x1.value, x2.value), (x1.value, x2.value, asked)

    def _backward_of_two(self, kept: Any, cotangent: Any) -> Any:
        x1, x2, asked = kept
        if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
            return None, None
        return (None if asked[0] is None else self._gradient_of_first(cotangent, x1, x2),
                None if asked[1] is None else self._gradient_of_first(cotangent.T, x2, x1))  # fmt: skip

    def _gradient_of_first(self, cotangent: Any, *images: Any) -> Any:
        result = jax.ShapeDtypeStruct(images[0].shape, images[0].dtype)
        return jax.pure_callback(self._pull_back, result, cotangent, *images, vmap_method="sequential")

    def _pull_back(self, cotangent: Any, *images: Any) -> np.ndarray:
        first, *others = map(np.asarray, images)
        found = self._kernel.gradient_of_first(first, others[0] if others else None, np.asarray(cotangent))
        return found.astype(first.dtype)


def _floating(x: Any) -> Any:
    array = jnp.asarray(x)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(jnp.result_type(float))


def _same(first: np.ndarray, second: np.ndarray) -> bool:
    return first.shape == second.shape and first.tobytes() == second.tobytes()
