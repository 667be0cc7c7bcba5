"""Kernels inside JAX: the same values and gradients as neural-tangents', under jit, grad and vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hpcdistill import NeuralKernel
from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import ConfigError
from hpcdistill.kernels.tangents_import import import_stax
from hpcdistill.neural_tangents import kernel_fn

NETWORK = "conv relu conv relu pool flatten dense"
X = np.random.default_rng(0).normal(size=(5, 8, 8, 2))
T = np.random.default_rng(1).normal(size=(9, 8, 8, 2))
Y_T = np.eye(3)[np.arange(9) % 3] - 1 / 3
Y_S = np.random.default_rng(2).normal(size=(5, 3))


def loss(kernel, x_s, y_s):
    """Somebody's KIP: kernel ridge regression on a support, and its mean squared error on targets."""
    k_ss, k_ts = kernel(x_s, None, "ntk"), kernel(jnp.asarray(T, x_s.dtype), x_s, "ntk")
    k_ss = k_ss + 1e-6 * jnp.trace(k_ss) / len(k_ss) * jnp.eye(len(k_ss), dtype=k_ss.dtype)
    return 0.5 * jnp.mean((k_ts @ jax.scipy.linalg.solve(k_ss, y_s, assume_a="pos") - jnp.asarray(Y_T)) ** 2)


def reference():
    """The kernel function of the same network by neural-tangents' own layers."""
    stax = import_stax()
    words = {
        "conv": lambda: stax.Conv(1, (3, 3), padding="SAME", W_std=2**0.5, b_std=0.1),
        "relu": stax.Relu,
        "pool": lambda: stax.AvgPool((2, 2), (2, 2)),
        "flatten": stax.Flatten,
        "dense": lambda: stax.Dense(1, 2**0.5, 0.1),
    }
    return stax.serial(*(words[word]() for word in parse_architecture(NETWORK).layers))[2]


def test_loss_and_gradient_are_those_of_neural_tangents():
    with jax.enable_x64(True):
        x_s, y_s = jnp.asarray(X), jnp.asarray(Y_S)
        own, theirs = (jax.jit(jax.value_and_grad(lambda x, y, k=k: loss(k, x, y), argnums=(0, 1)))(x_s, y_s)
                       for k in (kernel_fn(NETWORK), reference()))  # fmt: skip
        np.testing.assert_allclose(own[0], theirs[0], rtol=1e-9)
        for mine, other in zip(own[1], theirs[1], strict=True):
            np.testing.assert_allclose(mine, other, rtol=1e-6, atol=1e-9 * np.abs(other).max())


def test_forms_of_get():
    k, theirs = kernel_fn(NETWORK), reference()
    with jax.enable_x64(True):
        both, other = k(X, T), theirs(X, T)
        for kind in ("ntk", "nngp"):
            np.testing.assert_allclose(getattr(both, kind), getattr(other, kind), rtol=1e-10)
            np.testing.assert_array_equal(k(X, T, kind), getattr(both, kind))
        assert k(X, None, ("ntk", "nngp"))._fields == ("ntk", "nngp")
        assert k(X, get=("nngp", "ntk")).nngp.shape == (5, 5)


def test_grad_of_a_kernel_with_itself():
    """The same images in both places are both differentiated."""
    k, c = NeuralKernel(NETWORK), np.random.default_rng(3).normal(size=(5, 5))
    with jax.enable_x64(True):
        found = jax.grad(lambda x: (k.jax(x) * c).sum())(jnp.asarray(X))
    np.testing.assert_allclose(found, k.vjp(X)[1](c), rtol=1e-10, atol=1e-12)


def test_only_what_is_asked_for_is_computed(monkeypatch):
    """A gradient in the support alone is one pass over the kernel, whichever place it has."""
    calls, k = [], NeuralKernel(NETWORK)
    whole = NeuralKernel.gradient_of_first
    monkeypatch.setattr(NeuralKernel, "gradient_of_first", lambda self, *a: calls.append(len(a[0])) or whole(self, *a))
    c = np.random.default_rng(3).normal(size=(5, 9))
    with jax.enable_x64(True):
        x, t = jnp.asarray(X), jnp.asarray(T)
        for function, wanted, expected in (
            (lambda x: (k.jax(x, t) * c).sum(), [5], k.gradient(X, T, c)[0]),
            (lambda x: (k.jax(t, x) * c.T).sum(), [5], k.gradient(T, X, c.T)[1]),
            (lambda x: (k.jax(x) * c[:, :5]).sum(), [5], k.gradient(X, None, c[:, :5])),
            (lambda x: 0 * x.sum() + k.jax(t).sum(), [], np.zeros_like(X)),
        ):
            calls.clear()
            found = jax.grad(function)(x)
            assert calls == wanted
            np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14)
        both = jax.grad(lambda x, t: (k.jax(x, t) * c).sum(), argnums=(0, 1))(x, t)
    for found, expected in zip(both, k.gradient(X, T, c), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_vmap_takes_one_after_the_other():
    k = NeuralKernel(NETWORK)
    several = np.stack([X, X + 1, -X])
    with jax.enable_x64(True):
        found = jax.vmap(lambda x: k.jax(x, jnp.asarray(T)))(jnp.asarray(several))
        gradients = jax.vmap(jax.grad(lambda x: k.jax(x, jnp.asarray(T)).sum()))(jnp.asarray(several))
    for x, one, gradient in zip(several, found, gradients, strict=True):
        np.testing.assert_array_equal(one, k(x, T))
        np.testing.assert_array_equal(gradient, k.gradient(x, T, np.ones((5, 9)))[0])


@pytest.mark.parametrize("x64", [True, False])
def test_settings_of_jax_stay_and_types_are_those_of_the_images(x64):
    before = jax.config.jax_enable_x64, jax.config.jax_platforms
    with jax.enable_x64(x64):
        for dtype in ("float32", "float64"):
            found = NeuralKernel(NETWORK).jax(X.astype(dtype))
            assert found.dtype == (dtype if x64 else "float32")
        assert NeuralKernel(NETWORK).jax((X * 9).astype(int)).dtype == ("float64" if x64 else "float32")
    assert (jax.config.jax_enable_x64, jax.config.jax_platforms) == before


def test_what_neural_tangents_serves_is_its_own():
    with pytest.raises(ConfigError, match="use its kernel_fn in JAX"):
        NeuralKernel(NETWORK, backend="tangents").jax(X)
