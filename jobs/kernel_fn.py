#!/usr/bin/env python3
"""`hpcdistill.neural_tangents.kernel_fn` beside neural-tangents' own: loss and gradient of KRR in float64, and times.

usage: python jobs/kernel_fn.py [SUPPORT [TARGETS]]        (images; default: 4 and 8, of 32×32×3, with the ConvNet)

A KIP-like program: the two differ in the line that makes their kernel_fn. Both run on the cores that this process has,
the engine on OMP_NUM_THREADS of them. The second call is timed: JAX has compiled the first.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np

import hpcdistill.neural_tangents
from hpcdistill.architecture import parse_architecture
from hpcdistill.kernels.tangents import stax_kernel
from hpcdistill.kernels.tangents_import import import_stax

jax.config.update("jax_enable_x64", True)


def make_loss(kernel_fn, y_s, x_t, y_t):
    def loss(x_s):
        k_ss, k_ts = kernel_fn(x_s, None, "ntk"), kernel_fn(x_t, x_s, "ntk")
        ridge = 1e-6 * jnp.trace(k_ss) / len(k_ss) * jnp.eye(len(k_ss))
        return 0.5 * jnp.mean((k_ts @ jnp.linalg.solve(k_ss + ridge, y_s) - y_t) ** 2)

    return jax.jit(jax.value_and_grad(loss))


def timed(function, x_s):
    jax.block_until_ready(function(x_s))
    started = time.perf_counter()
    value, gradient = jax.block_until_ready(function(x_s))
    return float(value), np.asarray(gradient), time.perf_counter() - started


def main():
    n_s, n_t = (*map(int, sys.argv[1:]), *(4, 8)[len(sys.argv) - 1 :])
    rng = np.random.default_rng(0)
    x_s, x_t = rng.normal(size=(n_s, 32, 32, 3)), rng.normal(size=(n_t, 32, 32, 3))
    data = rng.normal(size=(n_s, 10)), x_t, rng.normal(size=(n_t, 10))
    ours = hpcdistill.neural_tangents.kernel_fn("ConvNet")
    theirs = stax_kernel(import_stax(), parse_architecture("ConvNet"))
    (loss, gradient, seconds), (loss_nt, gradient_nt, seconds_nt) = (
        timed(make_loss(kernel_fn, *data), x_s) for kernel_fn in (ours, theirs)
    )
    entries = n_s * n_t + n_s * n_s
    print(f"loss and gradient of KRR, ConvNet on 32×32×3, {n_s} support images, {n_t} targets, float64")
    print(f"  neural-tangents  {seconds_nt:10.3f} s   {1e3 * seconds_nt / entries:8.2f} ms per entry")
    print(f"  hpcdistill       {seconds:10.3f} s   {1e3 * seconds / entries:8.2f} ms per entry")
    print(f"  ratio            {seconds_nt / seconds:10.0f}")
    print(f"  relative difference: loss {abs(loss / loss_nt - 1):.1e}, "
          f"gradient {np.abs(gradient - gradient_nt).max() / np.abs(gradient_nt).max():.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
