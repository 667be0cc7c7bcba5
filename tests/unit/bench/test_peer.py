"""neural-tangents beside a GPU's backend: which configurations, and that float32 is float32."""

import os

import numpy as np
import pytest

from hpcdistill.bench import peer
from hpcdistill.bench.cases import Case

CASE = Case("conv relu pool conv relu flatten dense", (4, 4, 2))


@pytest.fixture
def on_gpu(monkeypatch):
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")


def test_on_cpus_it_is_measured_in_its_fastest_type():
    assert [(p.name, p.dtype, p.device) for p in peer.peers_of(CASE)] == [("tangents", np.float64, None)]


def test_on_gpus_both_types_are_measured_and_float32_is_computed_in_float32(on_gpu):
    double, single = peer.peers_of(CASE)
    assert (double.dtype, single.dtype, single.name) == (np.float64, np.float32, "tangents")
    x = np.random.default_rng(0).normal(size=(5, *CASE.shape))
    results = []
    for backend in (double, single):
        h1, h2 = backend.prepare(x[:3]), backend.prepare(x[3:])
        results.append((backend.block(h1, h2), backend.block_vjp(h1, h2, np.ones((3, 2)))))
    for exact, rounded in zip(*results, strict=True):
        assert rounded.dtype == np.float32
        error = np.abs(rounded - exact).max() / np.abs(exact).max()
        assert 1e-9 < error < 1e-4
    # Rounding of inputs and results alone would leave less than half a unit in the last place.
    assert np.abs(results[1][0] - results[0][0].astype(np.float32)).max() > 0


def test_a_gpu_gets_large_tiles(on_gpu):
    _, single = peer.peers_of(Case("ConvNet", (32, 32, 3)))
    assert single._backend._pairs_per_tile(7) == 8 * 2**30 // (8 * 1024**2 * 7)


@pytest.mark.parametrize(("installed", "platforms"), [(["jax_cuda13_plugin"], "cuda,cpu"), ([], "cpu")])
def test_jax_takes_the_gpu_where_it_can(monkeypatch, installed, platforms):
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "as it was")
    monkeypatch.setattr(peer, "find_spec", lambda name: name in installed or None)
    peer.let_jax_use_the_gpu()
    assert os.environ["JAX_PLATFORMS"] == platforms
    assert os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] == ("false" if installed else "as it was")
