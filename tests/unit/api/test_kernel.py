"""Kernels as NumPy arrays: against neural-tangents and central differences, in every form that images come in."""

import copy
import dataclasses
import doctest
import pickle
import subprocess
import sys
from importlib import import_module

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.kernel_ridge import KernelRidge
from sklearn.svm import SVC

import hpcdistill
from hpcdistill import NeuralKernel
from hpcdistill.api import kernel as module
from hpcdistill.errors import ConfigError, InputError

NETWORK = "conv relu pool flatten dense"
X = np.random.default_rng(0).normal(size=(7, 8, 6, 2))
Y = np.random.default_rng(1).normal(size=(4, 8, 6, 2))


@pytest.mark.parametrize("network", ["FC2", NETWORK, "conv relu gap dense"])
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_against_neural_tangents(network, kind):
    k, reference = (NeuralKernel(network, kind, 1.3, 0.2, backend=name) for name in ("auto", "tangents"))
    np.testing.assert_allclose(k(X, Y), reference(X, Y), rtol=1e-12)
    np.testing.assert_allclose(k(X), reference(X, X), rtol=1e-7)  # an image with itself is at the root of a rounding
    assert (k(X) == k(X).T).all()


def test_blocks_make_the_whole(monkeypatch):
    k, told = NeuralKernel(NETWORK), []
    whole, symmetric = k(X, Y), k(X)
    monkeypatch.setattr(module, "_ROWS", 3)
    monkeypatch.setattr(module, "_COLUMNS", 2)
    parts = NeuralKernel(NETWORK, progress=lambda done, total: told.append((done, total)))
    np.testing.assert_array_equal(parts(X, Y), whole)
    np.testing.assert_allclose(parts(X), symmetric, rtol=1e-15)  # K(x, y) is summed in another order than K(y, x)
    assert told[:6] == [(done, 6) for done in range(1, 7)]
    assert told[6:] == [(done, 6) for done in range(1, 7)]  # half of 3 × 3 blocks, and their diagonal
    c = np.random.default_rng(2).normal(size=whole.shape)
    for part, full in zip(parts.vjp(X, Y)[1](c), k.vjp(X, Y)[1](c), strict=True):
        np.testing.assert_allclose(part, full, rtol=1e-12, atol=1e-12)


def difference(function, x, direction, step=1e-6):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@pytest.mark.parametrize("network", ["FC2", NETWORK])
def test_gradients_are_central_differences(network):
    k, rng = NeuralKernel(network), np.random.default_rng(3)
    kernel, pullback = k.vjp(X, Y)
    np.testing.assert_array_equal(kernel, k(X, Y))
    c, dx, dy = rng.normal(size=kernel.shape), rng.normal(size=X.shape), rng.normal(size=Y.shape)
    gx, gy = pullback(c)
    assert (gx * dx).sum() == pytest.approx(difference(lambda x: (c * k(x, Y)).sum(), X, dx), rel=1e-6)
    assert (gy * dy).sum() == pytest.approx(difference(lambda y: (c * k(X, y)).sum(), Y, dy), rel=1e-6)
    kernel, pullback = k.vjp(X)
    c = rng.normal(size=kernel.shape)
    assert (pullback(c) * dx).sum() == pytest.approx(difference(lambda x: (c * k(x)).sum(), X, dx), rel=1e-6)


def test_forms_of_images():
    k = NeuralKernel(NETWORK, image_shape=(8, 6, 2))
    expected = k(X, Y)
    np.testing.assert_array_equal(k(X.reshape(7, -1), Y.reshape(4, -1)), expected)
    np.testing.assert_array_equal(k(X.reshape(7, -1), Y), expected)
    assert k.vjp(X.reshape(7, -1), Y)[1](expected)[0].shape == (7, 96)
    grey = X[..., 0]
    np.testing.assert_array_equal(k(grey), k(grey[..., None]))
    np.testing.assert_array_equal(k((10 * X).astype(np.int8)), k((10 * X).astype(np.int8).astype(float)))
    flat = NeuralKernel("FC1")
    np.testing.assert_allclose(flat(X.reshape(7, -1)), flat(X), rtol=1e-12)
    assert k(X[:0], Y).shape == (0, 4)
    assert NeuralKernel(NETWORK, dtype="float32")(X, Y).dtype == np.float32


def test_out_may_be_a_file(tmp_path):
    out = np.lib.format.open_memmap(tmp_path / "k.npy", "w+", np.float64, (7, 4))
    k = NeuralKernel(NETWORK)
    assert k(X, Y, out=out) is out
    np.testing.assert_array_equal(np.load(tmp_path / "k.npy"), k(X, Y))


def test_what_cannot_be():
    k = NeuralKernel(NETWORK)
    with pytest.raises(InputError, match=r"Give image_shape=\(h, w, c\) with h · w · c = 96"):
        k(X.reshape(7, -1))
    with pytest.raises(InputError, match="different shapes"):
        k(X, Y[:, :7])
    with pytest.raises(InputError, match=r"not \(7, 8, 6, 2, 1\)"):
        k(X[..., None])
    with pytest.raises(InputError, match="must be numbers, not <U"):
        k(np.full((2, 8, 6, 2), "a"))
    with pytest.raises(InputError, match=r"out must be \(7, 4\)"):
        k(X, Y, out=np.empty((4, 7)))
    with pytest.raises(InputError, match="NaN"):
        k(X * np.nan)
    with pytest.raises(InputError, match=r"cotangent must be \(7, 4\)"):
        k.vjp(X, Y)[1](np.ones((4, 7)))
    with pytest.raises(ConfigError, match="'ConvNot' is unknown"):
        NeuralKernel("ConvNot")
    with pytest.raises(ConfigError, match="Valid: float32, float64"):
        NeuralKernel(NETWORK, dtype="float16")(X)


def test_a_kernel_of_scikit_learn():
    images, labels = load_digits(return_X_y=True)
    images = images / 16
    k = NeuralKernel(NETWORK, image_shape=(8, 8, 1))
    for model in (SVC(kernel=k), SVC(kernel="precomputed")):
        gram = [k(images[:300]), k(images[300:600], images[:300])] if model.kernel == "precomputed" else None
        model.fit(gram[0] if gram else images[:300], labels[:300])
        assert model.score(gram[1] if gram else images[300:600], labels[300:600]) > 0.75
    ridge = KernelRidge(kernel="precomputed", alpha=1e-3).fit(k(images[:300]), np.eye(10)[labels[:300]])
    found = ridge.predict(k(images[300:600], images[:300])).argmax(axis=1)
    assert (found == labels[300:600]).mean() > 0.75
    one_by_one = KernelRidge(kernel=lambda a, b: k(a[None], b[None])[0, 0], alpha=1e-3).fit(images[:20], labels[:20])
    ridge.fit(k(images[:20]), labels[:20])
    np.testing.assert_allclose(one_by_one.predict(images[20:25]), ridge.predict(k(images[20:25], images[:20])))


def test_copies_make_their_own_engines():
    k, x = NeuralKernel("conv relu flatten dense"), np.random.default_rng(0).normal(size=(3, 4, 4, 1))
    expected = k(x)
    for same in (copy.deepcopy(k), pickle.loads(pickle.dumps(k))):
        np.testing.assert_array_equal(same(x), expected)
    with pytest.raises(dataclasses.FrozenInstanceError):
        k.kind = "nngp"
    assert len({k, copy.deepcopy(k)}) == 2


def test_a_pullback_is_of_the_images_as_they_were():
    k, x = NeuralKernel("FC1"), np.random.default_rng(0).normal(size=(3, 4, 4, 1))
    expected = k.gradient(x, None, np.eye(3))
    _, pullback = k.vjp(x)
    x *= 2
    np.testing.assert_array_equal(pullback(np.eye(3)), expected)


@pytest.mark.parametrize(("arguments", "words"), [
    ({"dtype": "float16"}, "dtype is 'float16'"), ({"backend": "fpga"}, "'fpga' is unknown. Valid: auto, fc"),
    ({"image_shape": (8, 8)}, r"image_shape must be \(h, w, c\)"), ({"network": "VGG"}, "VGG"),
])  # fmt: skip
def test_what_cannot_be_is_said_at_once(arguments, words):
    with pytest.raises(ConfigError, match=words):
        NeuralKernel(**arguments)


@pytest.mark.parametrize("network", ["FC1", "flatten dense", "conv relu flatten dense"])
def test_images_too_large_are_refused(network):
    with pytest.raises(InputError, match="exceeds float64"):
        NeuralKernel(network)(np.full((2, 4, 4, 1), 1e200))


def imported(program, names):
    """Which of some modules a program has imported."""
    program += f"\nimport sys; print([name for name in {names} if name in sys.modules])"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout


def test_importing_costs_nothing():
    program = "import hpcdistill; assert 'NeuralKernel' in dir(hpcdistill)"
    assert imported(program, ["jax", "mpi4py", "cupy", "scipy", "sklearn", "numpy"]) == "[]\n"
    program = """
import numpy as np, hpcdistill
hpcdistill.NeuralKernel("conv relu flatten dense")(np.ones((2, 4, 4, 1)))"""
    assert imported(program, ["jax", "mpi4py.MPI", "sklearn"]) == "[]\n"


@pytest.mark.parametrize(
    "name", [*sorted(set(hpcdistill.__all__) - {"DistilledSet", "load", "distill"}), "neural_tangents"]
)
def test_examples_run(name):
    """What the public names' own examples show is what comes out."""
    public = (
        import_module("hpcdistill.neural_tangents").kernel_fn
        if name == "neural_tangents"
        else getattr(hpcdistill, name)
    )
    tests = doctest.DocTestFinder(recurse=False).find(public, name)
    assert [len(test.examples) > 2 for test in tests] == [True]
    assert doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE).run(tests[0]).failed == 0


def test_unknown_names():
    with pytest.raises(AttributeError, match="no attribute 'NeuralKernle'"):
        _ = hpcdistill.NeuralKernle
