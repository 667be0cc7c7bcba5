"""What the closed form promises beyond the contract: exact diagonals, bounded memory, no overflow."""

import tracemalloc

import numpy as np
import pytest

from hpcdistill.architecture import parse_architecture
from hpcdistill.kernels import fully_connected, fully_connected_sweep
from hpcdistill.kernels.select import choose_backend
from hpcdistill.kernels.sweep import RepeatedSweep

DTYPES = ("float32", "float64")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["ntk", "nngp"])
def test_the_diagonal_follows_from_the_variance_alone(dtype, kind):
    backend = choose_backend(parse_architecture("FC1", kind), (4, 5, 3), dtype)
    handle = backend.prepare(np.random.default_rng(0).normal(size=(7, 4, 5, 3)))
    hidden = 2 * handle.per_image[0].astype(np.float64) + 0.01
    nngp = 2 * (hidden / 2) + 0.01
    expected = nngp if kind == "nngp" else nngp + 2 * (hidden / 2)
    diagonal = np.diag(backend.block(handle, handle))
    np.testing.assert_allclose(diagonal, expected, rtol=4 * np.finfo(dtype).eps)
    np.testing.assert_array_equal([backend.block(handle[i : i + 1], handle)[0, i] for i in range(7)], diagonal)


@pytest.mark.parametrize(("text", "n1", "n2"), [("FC1", 1500, 2000), ("FC20", 300, 1000)])
def test_temporary_memory_does_not_grow_with_the_block(text, n1, n2):
    backend = choose_backend(parse_architecture(text), (8, 8, 1), "float64")
    rng = np.random.default_rng(0)
    h1, h2 = (backend.prepare(rng.normal(size=(n, 8, 8, 1))) for n in (n1, n2))
    cotangent = np.ones((n1, n2))
    for call, result in (
        (lambda: backend.block(h1, h2), 8 * n1 * n2),
        (lambda: backend.block_vjp(h1, h2, cotangent), 0),
    ):
        tracemalloc.start()
        call()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak <= result + fully_connected.TEMPORARY_BYTES


def swept(sweep, h2, cotangent):
    blocks = []
    for start in range(0, len(h2), sweep.at_once):
        part = slice(start, min(start + sweep.at_once, len(h2)))
        blocks.append(sweep.block(h2[part]))
        sweep.add(cotangent[:, part])
    return np.hstack(blocks), sweep.finish()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("text", "n", "at_once"), [("FC1", 150, 100), ("FC3", 20, 250), ("FC20", 20, 37)])
def test_a_sweep_gives_the_same_bits_whatever_it_keeps(monkeypatch, dtype, text, n, at_once):
    monkeypatch.setattr(fully_connected_sweep, "_FEWEST_AT_ONCE", 2)
    monkeypatch.setattr(fully_connected_sweep, "KEPT_BYTES", 150 * 100 * 4 * np.dtype(dtype).itemsize)
    backend = choose_backend(parse_architecture(text), (4, 4, 1), dtype)
    rng = np.random.default_rng(0)
    images = backend.prepare(rng.normal(size=(700, 4, 4, 1)))
    sweep = backend.sweep(images[:n])
    assert isinstance(sweep, fully_connected_sweep.KeptSweep)
    assert sweep.at_once == at_once
    again = RepeatedSweep(backend, images[:n])
    again.at_once = sweep.at_once
    for h2 in (backend.prepare(rng.normal(size=(600, 4, 4, 1))), images[n:], images[:n], images):
        cotangent = rng.normal(size=(n, len(h2)))
        for found, expected in zip(swept(sweep, h2, cotangent), swept(again, h2, cotangent), strict=True):
            np.testing.assert_array_equal(found, expected)


def test_a_sweep_keeps_what_there_is_room_for():
    backend = choose_backend(parse_architecture("FC3"), (4, 4, 1), "float32")
    handle = backend.prepare(np.random.default_rng(0).normal(size=(6000, 4, 4, 1)))
    h2, cotangent = handle[:2048], np.ones((100, 2048))
    sweep = backend.sweep(handle[:100])
    assert sweep.at_once == 2048
    tracemalloc.start()
    sweep.block(h2)
    sweep.add(cotangent)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= fully_connected_sweep.KEPT_BYTES + fully_connected.TEMPORARY_BYTES + 4 * cotangent.size
    assert backend.sweep(handle[:5000]).at_once == 279
    assert type(backend.sweep(handle)) is RepeatedSweep


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-15, 1e12])
def test_kernels_without_bias_are_homogeneous(dtype, scale):
    backend = choose_backend(parse_architecture("FC2", b_std=0.0), (3, 3, 1), dtype)
    x = np.random.default_rng(0).normal(size=(4, 3, 3, 1))
    one, scaled = (backend.block(h, h) for h in (backend.prepare(x), backend.prepare(scale * x)))
    np.testing.assert_allclose(scaled / scale**2, one, rtol=1e-4 if dtype == "float32" else 1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gradient_is_continuous_across_the_threshold_of_the_singular_factor(dtype):
    """Near a duplicate the gradient is that of the symmetric derivative, plus a bounded kink; it never blows up."""
    backend = choose_backend(parse_architecture("FC1"), (4, 4, 1), dtype)
    rng = np.random.default_rng(0)
    x, direction = rng.normal(size=(2, 1, 4, 4, 1))
    at_duplicate = backend.block_vjp(backend.prepare(x), backend.prepare(x.copy()), np.ones((1, 1)))
    for distance in 10.0 ** np.arange(-9, 0):
        near = backend.block_vjp(backend.prepare(x + distance * direction), backend.prepare(x), np.ones((1, 1)))
        assert np.abs(near - at_duplicate).max() <= np.abs(at_duplicate).max()
