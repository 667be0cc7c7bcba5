"""One suite for all kernel backends: what `hpcdistill.kernels.base.KernelBackend` promises."""

import itertools
from functools import cache

import dense_oracle
import numpy as np
import pytest
import tolerances
from host_cuda.host_device import HostDevice
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import InputError
from hpcdistill.gpu.device import to_host
from hpcdistill.kernels import tangents
from hpcdistill.kernels.cuda import CudaBackend
from hpcdistill.kernels.select import choose_backend

CONV = "conv relu conv relu pool conv relu pool flatten dense"
GAP = "conv relu pool gap dense relu dense"
DTYPES = (np.dtype(np.float64), np.dtype(np.float32))

# Backend, layers, kind, W, b, image shape. Neither sizes nor shapes divide each other; 1 to 3 channels.
NETWORKS = [
    ("fc", "FC1", "ntk", 2**0.5, 0.1, (4, 5, 3)),
    ("fc", "FC1", "nngp", 2**0.5, 0.1, (5, 3, 2)),
    ("fc", "FC3", "ntk", 1.3, 0.0, (4, 5, 1)),
    ("fc", "FC10", "ntk", 2**0.5, 0.1, (4, 4, 3)),
    ("fc", "flatten dense", "ntk", 1.3, 0.2, (3, 5, 2)),
    ("fc", "flatten dense dense relu dense relu dense", "ntk", 1.3, 0.2, (3, 5, 2)),
    ("native", "conv relu flatten dense", "ntk", 2**0.5, 0.1, (4, 5, 3)),
    ("native", CONV, "ntk", 2**0.5, 0.1, (5, 6, 2)),
    ("native", "conv relu conv pool relu gap dense relu dense", "ntk", 1.3, 0.1, (5, 4, 3)),
    ("native", GAP, "nngp", 1.3, 0.0, (4, 5, 1)),
    ("cuda-on-host", "conv relu flatten dense", "ntk", 2**0.5, 0.1, (4, 5, 3)),
    ("cuda-on-host", CONV, "ntk", 2**0.5, 0.1, (5, 6, 2)),
    ("cuda-on-host", "conv relu conv pool relu gap dense relu dense", "ntk", 1.3, 0.1, (5, 4, 3)),
    ("cuda-on-host", GAP, "nngp", 1.3, 0.0, (4, 5, 1)),
    ("tangents", CONV, "ntk", 2**0.5, 0.1, (5, 6, 2)),
    ("tangents", GAP, "nngp", 1.3, 0.0, (4, 5, 1)),
]
GRID = [(*network, dtype) for network in NETWORKS for dtype in DTYPES if network[0] != "tangents" or dtype == DTYPES[0]]
GRID += [(*NETWORKS[-2], DTYPES[1])]
GRID += [("cuda", *network[1:]) for network in GRID if network[0] == "cuda-on-host"]


class OnHost:
    """A backend whose blocks and gradients are brought to the host's memory."""

    def __init__(self, backend):
        self.inner = backend

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def block(self, h1, h2):
        return to_host(self.inner.block(h1, h2))

    def block_vjp(self, h1, h2, cotangent):
        return to_host(self.inner.block_vjp(h1, h2, cotangent))


class Case:
    """A backend, its architecture and random images for it."""

    def __init__(self, name, text, kind, w_std, b_std, shape, dtype):
        self.architecture = parse_architecture(text, kind, w_std, b_std)
        self.shape, self.dtype = shape, dtype
        if name == "cuda-on-host":
            backend = CudaBackend(self.architecture, shape, dtype, HostDevice())
        else:
            backend = choose_backend(self.architecture, shape, dtype, name)
        self.backend = OnHost(backend)
        self.x1, self.x2 = self.images(3, 1), self.images(5, 2)
        self.h1, self.h2 = self.backend.prepare(self.x1), self.backend.prepare(self.x2)
        self.cotangent = np.random.default_rng(3).normal(size=(3, 5)).astype(dtype)

    def images(self, n, seed):
        return np.random.default_rng(seed).normal(size=(n, *self.shape)).astype(self.dtype)

    def oracle(self, x1, x2):
        return dense_oracle.kept_kernel(self.architecture, x1.astype(np.longdouble), x2.astype(np.longdouble))

    def differences(self, x1, x2, cotangent, step=1e-4, order=2):
        """Return d/dx1 Σ cotangent ∘ K along a random direction per image, by central differences.

        They are extrapolated from h and 2h; the error is of second order in h, of first at the kink of equal images.
        """
        direction = np.random.default_rng(4).normal(size=x1.shape).astype(np.longdouble)

        def slope(h):
            up, down = (self.oracle(x1 + sign * h * direction, x2) for sign in (1, -1))
            return (cotangent * (up - down)).sum(axis=1) / (2 * h)

        near, far = slope(np.longdouble(step)), slope(2 * np.longdouble(step))
        return direction, near + (near - far) / (2**order - 1)


def name_of(network):
    return f"{network[0]}-{network[1].replace(' ', '.')}-{network[2]}-{network[6]}"


def marked(network):
    return pytest.param(network, id=name_of(network), marks=[pytest.mark.gpu] if network[0] == "cuda" else [])


def only(wanted):
    """Restrict a test to the networks for which `wanted` holds."""
    networks = [marked(network) for network in GRID if wanted(network)]
    return pytest.mark.parametrize("case", networks, indirect=True)


@cache
def build(*arguments):
    return Case(*arguments)


@pytest.fixture(params=map(marked, GRID))
def case(request, monkeypatch):
    # Tiles of 2×2 pairs, so that blocks of a few images have several, some of them padded.
    monkeypatch.setattr(tangents, "_CACHED_ELEMENTS", 0)
    case = build(*request.param)
    if request.param[0] == "fc":
        monkeypatch.setattr(case.backend.inner, "_rows", 2)
        monkeypatch.setattr(case.backend.inner, "_columns", 3)
    return case


def assert_close(actual, expected, tolerance):
    scale = np.abs(expected).max()
    assert np.abs(actual - expected).max() <= tolerance * scale


def along(gradient, direction):
    return (gradient * direction).sum(axis=(1, 2, 3))


def test_block_equals_dense_recursion(case):
    block = case.backend.block(case.h1, case.h2)
    assert block.dtype == case.dtype
    assert_close(block, case.oracle(case.x1, case.x2), tolerances.BLOCK[case.dtype])


def test_vjp_equals_central_differences(case):
    gradient = case.backend.block_vjp(case.h1, case.h2, case.cotangent)
    assert gradient.dtype == case.dtype
    direction, expected = case.differences(case.x1, case.x2, case.cotangent)
    assert_close(along(gradient, direction), expected, tolerances.VJP[case.dtype])


def test_pairs_of_equal_images(case):
    same = case.backend.block(case.h1, case.h1)
    copy = case.backend.block(case.h1, case.backend.prepare(case.x1.copy()))
    exact = case.backend.name != "tangents" or case.architecture.kind == "nngp"
    expected = case.oracle(case.x1, case.x1)
    assert_close(same, expected, (tolerances.BLOCK_SAME if exact else tolerances.BLOCK_COPY)[case.dtype])
    assert_close(copy, expected, tolerances.BLOCK_COPY[case.dtype])


def test_vjp_at_equal_images_is_the_symmetric_derivative(case):
    cotangent = case.cotangent[:, :3]
    direction, expected = case.differences(case.x1, case.x1, cotangent, step=1e-5, order=1)
    for other in (case.h1, case.backend.prepare(case.x1.copy())):
        gradient = case.backend.block_vjp(case.h1, other, cotangent)
        assert_close(along(gradient, direction), expected, tolerances.VJP_SAME[case.dtype])


@cache
def peer_of(architecture):
    """neural-tangents' kernel of two float64 sets, and its gradient: compiled once for all backends and types."""
    import jax

    kernel_fn = tangents.stax_kernel(tangents.import_stax(), architecture)

    def block_and_gradient(x1, x2, cotangent):
        block, pull_back = jax.vjp(lambda x: kernel_fn(x, x2, architecture.kind), x1)
        return block, pull_back(cotangent)[0]

    return jax.jit(block_and_gradient)


@only(lambda network: network[0] != "tangents")
def test_against_neural_tangents(case):
    arguments = (array.astype(np.float64) for array in (case.x1, case.x2, case.cotangent))
    block, gradient = peer_of(case.architecture)(*arguments)
    assert_close(case.backend.block(case.h1, case.h2), block, tolerances.PEER[case.dtype])
    assert_close(case.backend.block_vjp(case.h1, case.h2, case.cotangent), gradient, tolerances.PEER[case.dtype])


def test_a_tile_is_the_slice_of_the_whole(case):
    whole = case.backend.block(case.h1, case.h2)
    for rows, columns in ((slice(0, 2), slice(1, 5)), (slice(1, 3), slice(0, 2)), (slice(2, 3), slice(2, 5))):
        tile = case.backend.block(case.h1[rows], case.h2[columns])
        assert_close(tile, whole[rows, columns], tolerances.SLICE[case.dtype])


def test_a_sweep_is_block_and_vjp(case):
    block = case.backend.block(case.h1, case.h2)
    gradient = case.backend.block_vjp(case.h1, case.h2, case.cotangent)
    for cuts in ([0, 5], [0, 2, 5]):
        sweep = case.backend.sweep(case.h1)
        for start, stop in itertools.pairwise(cuts):
            part = to_host(sweep.block(case.h2[start:stop]))
            assert part.dtype == case.dtype
            assert_close(part, block[:, start:stop], tolerances.SLICE[case.dtype])
            sweep.add(case.cotangent[:, start:stop])
        found = to_host(sweep.finish())
        assert found.dtype == case.dtype
        assert_close(found, gradient, tolerances.SLICE[case.dtype])


def test_gradients_of_tiles_add_up(case):
    whole = case.backend.block_vjp(case.h1, case.h2, case.cotangent)
    left, right = (
        case.backend.block_vjp(case.h1[1:], case.h2[c], case.cotangent[1:, c]) for c in (slice(0, 2), slice(2, 5))
    )
    assert_close(left + right, whole[1:], tolerances.SLICE[case.dtype])


def test_same_rows_are_known_in_shifted_ranges(case):
    whole = case.backend.block(case.h2, case.h2)
    tolerance = tolerances.BLOCK_COPY if case.backend.name == "tangents" else tolerances.SLICE
    assert_close(case.backend.block(case.h2[1:4], case.h2[2:5]), whole[1:4, 2:5], tolerance[case.dtype])


def test_self_block_is_symmetric_and_positive(case):
    block = case.backend.block(case.h2, case.h2)
    np.testing.assert_array_equal(block, block.T)
    values = np.linalg.eigvalsh(block.astype(np.float64))
    assert values.min() >= -10 * tolerances.BLOCK_SAME[case.dtype] * values.max()


def test_memory_layout_and_type_of_the_input_do_not_matter(case):
    strided = np.zeros((6, *case.shape[1::-1], case.shape[2]), case.dtype)[::2].swapaxes(1, 2)
    strided[:] = case.x1
    strided.flags.writeable = False
    handle = case.backend.prepare(strided)
    np.testing.assert_array_equal(case.backend.block(handle, case.h2), case.backend.block(case.h1, case.h2))
    half = case.x1.astype(np.float16)
    expected = case.backend.block(case.backend.prepare(half.astype(case.dtype)), case.h2)
    np.testing.assert_array_equal(case.backend.block(case.backend.prepare(half), case.h2), expected)


def test_empty_handles(case):
    empty = case.backend.prepare(case.images(0, 0))
    assert len(empty) == 0
    assert case.backend.block(empty, case.h2).shape == (0, 5)
    assert case.backend.block(case.h1, case.h2[3:3]).shape == (3, 0)
    assert case.backend.block(empty, empty).shape == (0, 0)
    assert case.backend.block_vjp(empty, case.h2, np.empty((0, 5))).shape == (0, *case.shape)
    gradient = case.backend.block_vjp(case.h1, empty, np.empty((3, 0)))
    np.testing.assert_array_equal(gradient, np.zeros_like(case.x1))


def test_zero_equal_and_almost_equal_images_stay_finite(case):
    x = case.images(5, 7)
    x[0] = 0
    x[1] = x[2]
    x[3] = x[4] * (1 + 10 * np.finfo(case.dtype).eps)
    handle = case.backend.prepare(x)
    for other in (handle, case.backend.prepare(x.copy()), case.backend.prepare(-x)):
        assert np.isfinite(case.backend.block(handle, other)).all()
        assert np.isfinite(case.backend.block_vjp(handle, other, np.ones((5, 5)))).all()


@only(lambda network: network[4] == 0)
def test_without_bias_a_zero_image_has_kernel_zero(case):
    zero = case.backend.prepare(np.zeros_like(case.x1))
    np.testing.assert_array_equal(case.backend.block(zero, case.h2), 0)


def test_damaged_images_are_named(case):
    damaged = case.images(3, 1)
    damaged[1, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="Image 1 of 3"):
        case.backend.prepare(damaged)


def test_wrong_shapes_and_types_are_refused(case):
    with pytest.raises(ValueError, match="floating point"):
        case.backend.prepare(np.zeros((2, *case.shape), np.uint8))
    for shape in (case.shape, (2, 9, *case.shape[1:])):
        with pytest.raises(ValueError, match="Images must be"):
            case.backend.prepare(np.zeros(shape))
    with pytest.raises(ValueError, match="one entry per pair"):
        case.backend.block_vjp(case.h1, case.h2, case.cotangent.T)
    with pytest.raises(ValueError, match="contiguous"):
        case.h1[::2]
    with pytest.raises(TypeError, match="range of rows"):
        case.h1[0]


def test_handles_of_other_images_are_refused(case):
    other = choose_backend(parse_architecture("FC1"), (9, 9, 1), case.dtype).prepare(np.zeros((2, 9, 9, 1)))
    with pytest.raises(ValueError, match="different shape"):
        case.backend.block(case.h1, other)
    with pytest.raises(ValueError, match="different shape"):
        case.backend.block_vjp(other, case.h1, np.zeros((2, 3)))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 6), scale=st.floats(1e-3, 1e3), copies=st.booleans())
def test_any_self_block_is_symmetric_and_positive(seed, n, scale, copies):
    case = build(*GRID[0])
    x = scale * np.random.default_rng(seed).normal(size=(n, *case.shape))
    x = np.concatenate([x, x[::-1]]) if copies else x
    handle = case.backend.prepare(x)
    block = case.backend.block(handle, handle)
    np.testing.assert_array_equal(block, block.T)
    values = np.linalg.eigvalsh(block)
    assert values.min() >= -tolerances.BLOCK_COPY[case.dtype] * values.max()
