"""Convolution of covariances that XLA's CPU compiler cannot get wrong.

neural-tangents filters covariances with a zero-padded convolution. On CPUs with AVX-512, XLA (JAX 0.10) compiles it to
loads from before the start of the array, and the process dies of a segmentation fault when that page is not mapped.
Here the zeros are written first, and a barrier keeps XLA from folding them back into the convolution. The result is
the same, and it is not slower (3×3, float64).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def install(linear: Any) -> None:
    """Make `neural_tangents._src.stax.linear` filter covariances through `mean_along_diagonal`. Not collective."""
    linear._conv_kernel_full_spatial_loop = partial(_filter_covariance, linear._conv_kernel_full_spatial_loop)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def mean_along_diagonal(x: jax.Array, size: int) -> jax.Array:
    """Return `y[..., p, q] = 1/size Σ_δ x[..., p+δ, q+δ]`, with δ in -(size//2) … size//2 and zeros outside.

    The filter is its own adjoint, which is how it is differentiated.

    Args:
        x: (n, 1, height, width), floating point.
        size: odd width of the window.

    Returns:
        Array of the shape and dtype of `x`.

    Not collective. Agrees with the dense recursion to rounding (tests/unit/kernels/test_backend_contract.py).
    """
    margin = (size // 2, size // 2)
    padded = lax.optimization_barrier(jnp.pad(x, ((0, 0), (0, 0), margin, margin)))
    diagonal = jnp.diag(jnp.full(size, 1.0 / size, x.dtype))[None, None]
    return lax.conv_general_dilated(padded, diagonal, (1, 1), "VALID", dimension_numbers=("NCHW", "OIHW", "NCHW"))


def _forward(x: jax.Array, size: int) -> tuple[jax.Array, None]:
    return mean_along_diagonal(x, size), None


def _backward(size: int, _: None, cotangent: jax.Array) -> tuple[jax.Array]:
    return (mean_along_diagonal(cotangent, size),)


mean_along_diagonal.defvjp(_forward, _backward)


def _filter_covariance(
    original: Callable, x: Any, filter_shape: Any, strides: Any, padding: Any, convolve: Callable, n_channels: Callable
) -> Any:
    """Stand in for neural-tangents' function; only the zero-padded convolution at stride 1 is replaced."""

    def safe(x: Any, window: Any, strides: Any, padding: str) -> Any:
        size = window.shape[-1]
        if padding != "SAME" or tuple(strides) != (1, 1) or size % 2 == 0 or x.shape[1] != 1:
            return convolve(x, window, strides, padding)
        return mean_along_diagonal(x, size)

    return original(x, filter_shape, strides, padding, safe, n_channels)
