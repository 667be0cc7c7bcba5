"""Backend `native`: threads, instruction sets, and what it does with unusual or wrong input."""

import numpy as np
import pytest
from native_support import BACKEND, Network, along, entry_error, error, random_cotangent

from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import ConfigError, HpcDistillError, InputError
from hpcdistill.kernels import native_sweep
from hpcdistill.kernels.native import NativeBackend

DTYPES = ("float64", "float32")
# Bounds are two to five times what is seen on x86-64. Blocks, relative to the entry.
BLOCK = {"float64": 2e-15, "float32": 1e-6}
# Fused or separate multiplication and addition, on random images: relative to the largest entry.
BETWEEN_TARGETS = {"float64": 3e-15, "float32": 1.5e-6}
# Pixels of 1e±20: relative to the entry, and of gradients along a direction to the largest.
SCALED, SCALED_VJP = 2e-14, 4e-12
# Norms of another type: images are then not quite their own copies.
MIXED = 5e-4
# Pixels so small against the bias that all patches coincide.
ALL_BIAS = {"float64": 1e-15, "float32": 1e-6}

LAYERS = "conv conv relu pool conv relu flatten dense relu dense"
SHAPE = (7, 6, 2)
REFUSED = (ValueError, TypeError, IndexError)


@pytest.fixture(params=DTYPES)
def case(request):
    """A network, its backend, images and handles of 5 and 37 of them."""
    network = Network(LAYERS, SHAPE)
    backend = network.backend(request.param)
    x1, x2 = network.images(5, 1).astype(request.param), network.images(37, 2).astype(request.param)
    return network, backend, x1, backend.prepare(x1), backend.prepare(x2)


def both(backend, h1, h2):
    return backend.block(h1, h2), backend.block_vjp(h1, h2, random_cotangent(len(h1), len(h2)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("text", "shape"), [(LAYERS, SHAPE), ("ConvNet", (9, 8, 3)), ("Myrtle-5", (8, 8, 1))])
def test_the_number_of_threads_changes_no_bit(monkeypatch, text, shape, dtype):
    network = Network(text, shape)
    x1, x2 = network.images(5, 1), network.images(37, 2)
    results = []
    for threads in (1, 2, 3, 8):
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        backend = network.backend(dtype)
        assert backend.threads == threads
        h1, h2 = backend.prepare(x1), backend.prepare(x2)
        results.append([*both(backend, h1, h2), backend.block(h2, h2), *both(backend, h1[:1], h2[:5])])
    backend.threads = 2
    results.append([*both(backend, h1, h2), backend.block(h2, h2), *both(backend, h1[:1], h2[:5])])
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            np.testing.assert_array_equal(one, other)


def test_a_call_repeated_gives_the_same_bits(case):
    _, backend, _, h1, h2 = case
    first = both(backend, h1, h2)
    for _ in range(3):
        for one, other in zip(first, both(backend, h1, h2), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("value", [None, "", "2,1"])
def test_threads_without_a_single_number(monkeypatch, value):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if value is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert Network(LAYERS, SHAPE).backend().threads >= 1


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("text", "shape"), [(LAYERS, SHAPE), ("Myrtle-5", (8, 8, 3)), ("Conv-Vec4", (1, 9, 1))])
def test_all_instruction_sets_agree(monkeypatch, text, shape, dtype):
    from hpcdistill.kernels.native import supported_targets

    network = Network(text, shape)
    x1, x2 = network.images(3, 1), network.images(21, 2)
    assert "baseline" in supported_targets()
    assert network.backend(dtype).target in supported_targets()
    results = []
    for target in supported_targets():
        monkeypatch.setenv("HPCDISTILL_NATIVE_TARGET", target)
        backend = network.backend(dtype)
        assert backend.target == target
        h1, h2 = backend.prepare(x1), backend.prepare(x2)
        results.append(both(backend, h1, h2))
        assert entry_error(results[-1][0], network.oracle(x1, x2)) <= BLOCK[dtype]
        np.testing.assert_array_equal(backend.block(h1[1:], h2[3:20]), results[-1][0][1:, 3:20])
        own = backend.block(h2, h2)
        np.testing.assert_array_equal(own, own.T)
    for result in results[1:]:
        for one, other in zip(results[0], result, strict=True):
            assert error(other, one) <= BETWEEN_TARGETS[dtype]


def test_an_unknown_instruction_set_is_refused(monkeypatch):
    monkeypatch.setenv("HPCDISTILL_NATIVE_TARGET", "mmx")
    with pytest.raises(HpcDistillError, match="mmx.*baseline"):
        Network(LAYERS, SHAPE).backend()


LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "byte-swapped": lambda x: x.astype(x.dtype.newbyteorder()),
    "every other image": lambda x: np.repeat(x, 2, axis=0)[::2],
    "backwards": lambda x: x[::-1].copy()[::-1],
    "rows of a wider array": lambda x: np.pad(x, [(0, 0), (0, 0), (1, 2), (0, 1)])[:, :, 1:-2, :-1],
    "channels first": lambda x: np.ascontiguousarray(x.transpose(0, 3, 1, 2)).transpose(0, 2, 3, 1),
    "unaligned": lambda x: np.frombuffer(b"\0" + x.tobytes(), x.dtype, offset=1).reshape(x.shape),
    "lists": lambda x: x.astype(np.float64).tolist(),
    "subclass": lambda x: x.view(np.ma.MaskedArray),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_does_not_matter(case, layout):
    _, backend, x, h1, h2 = case
    other = LAYOUTS[layout](x)
    if isinstance(other, np.ndarray):
        other.flags.writeable = False
    handle = backend.prepare(other)
    for one, same in zip(both(backend, h1, h2), both(backend, handle, h2), strict=True):
        np.testing.assert_array_equal(one, same)
    np.testing.assert_array_equal(backend.block(h2, handle), backend.block(h2, h1))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_memory_layout_of_the_cotangent_does_not_matter(case, layout):
    _, backend, _, h1, h2 = case
    cotangent = random_cotangent(5, 37)
    expected = backend.block_vjp(h1, h2, cotangent)
    if layout not in ("rows of a wider array", "channels first"):
        np.testing.assert_array_equal(backend.block_vjp(h1, h2, LAYOUTS[layout](cotangent)), expected)
    np.testing.assert_array_equal(backend.block_vjp(h1, h2, np.repeat(cotangent, 3, axis=1)[:, ::3]), expected)
    ones = backend.block_vjp(h1, h2, np.ones((5, 37)))
    np.testing.assert_array_equal(backend.block_vjp(h1, h2, np.broadcast_to(np.ones(()), (5, 37))), ones)


def test_other_floats_are_converted(case):
    _, backend, x, _, h2 = case
    half = x.astype(np.float16)
    expected = backend.block(backend.prepare(half.astype(backend.dtype)), h2)
    for dtype in (np.float16, np.float32, np.float64, np.longdouble):
        handle = backend.prepare(half.astype(dtype))
        assert handle.images.dtype == backend.dtype
        np.testing.assert_array_equal(backend.block(handle, h2), expected)


def test_images_are_neither_changed_nor_copied(case):
    _, backend, x, h1, h2 = case
    before = x.copy()
    both(backend, h1, h2)
    np.testing.assert_array_equal(x, before)
    assert np.shares_memory(h1.images, x)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, complex, object])
def test_images_that_are_not_floats_are_refused(case, dtype):
    with pytest.raises(ValueError, match="floating point"):
        case[1].prepare(np.zeros((2, *SHAPE), dtype))


@pytest.mark.parametrize("shape", [SHAPE, (2, 6, 7, 2), (2, 7, 6, 1), (2, 7, 6), (0,), (), (1, 2, *SHAPE)])
def test_images_of_other_shapes_are_refused(case, shape):
    with pytest.raises(ValueError, match="Images must be"):
        case[1].prepare(np.zeros(shape))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("at", [(0, 0, 0, 0), (3, 4, 5, 1), (4, 6, 5, 1)])
def test_damaged_images_are_named(case, bad, at):
    x = case[2].copy()
    x[at] = bad
    with pytest.raises(InputError, match=f"Image {at[0]} of 5"):
        case[1].prepare(x)


def test_cotangents_of_other_shapes_are_refused(case):
    _, backend, _, h1, h2 = case
    for shape in ((37, 5), (5, 36), (185,), (5, 37, 1), ()):
        with pytest.raises(ValueError, match="one entry per pair"):
            backend.block_vjp(h1, h2, np.zeros(shape))


def test_empty_sets(case):
    _, backend, x, h1, h2 = case
    for empty in (backend.prepare(x[:0]), h2[3:3], h1[5:]):
        assert len(empty) == 0
        assert backend.block(empty, h2).shape == (0, 37)
        assert backend.block(h1, empty).shape == (5, 0)
        assert backend.block(empty, empty).shape == (0, 0)
        assert backend.block_vjp(empty, h2, np.empty((0, 37))).shape == (0, *SHAPE)
        gradient = backend.block_vjp(h1, empty, np.empty((5, 0)))
        np.testing.assert_array_equal(gradient, np.zeros_like(x))
        assert gradient.dtype == backend.dtype


def foreign_handles(backend, x):
    """Yield handles that another backend prepared: of another network or shape, or with nothing per image."""
    yield Network("conv relu conv relu conv relu gap dense", SHAPE).backend(backend.dtype).prepare(x)
    yield Network("flatten dense", SHAPE).backend(backend.dtype).prepare(x)
    yield Network("conv relu flatten dense", (9, 9, 2)).backend(backend.dtype).prepare(np.zeros((5, 9, 9, 2)))
    yield Network("flatten dense relu dense", SHAPE).backend(backend.dtype, "fc").prepare(x)
    yield Network(LAYERS, SHAPE).backend(backend.dtype, "tangents").prepare(x)


def test_handles_of_another_backend_are_refused(case):
    _, backend, x, h1, _ = case
    for foreign in foreign_handles(backend, x):
        for first, second in ((foreign, h1), (h1, foreign), (foreign, foreign)):
            with pytest.raises(REFUSED):
                backend.block(first, second)
            with pytest.raises(REFUSED):
                backend.block_vjp(first, second, np.ones((5, 5)))


def test_handles_of_another_type_are_refused_or_right(case):
    network, backend, x, h1, _ = case
    other_dtype = DTYPES[backend.dtype == np.dtype(DTYPES[0])]
    foreign = network.backend(other_dtype).prepare(x)
    for first, second in ((foreign, h1), (h1, foreign)):
        with pytest.raises(ValueError, match="different dtype"):
            backend.block(first, second)
    try:
        block, gradient = both(backend, foreign, foreign)
    except REFUSED:
        return
    assert (block.dtype, gradient.dtype) == (backend.dtype, backend.dtype)
    assert error(block, network.oracle(x, x)) <= MIXED


@pytest.mark.parametrize("text", [LAYERS, "ConvNet", "conv relu gap dense relu dense"])
@pytest.mark.parametrize(("b_std", "scale"), [(0.0, 1e20), (0.0, 1e-20), (0.1, 1e20)])
def test_float64_keeps_its_digits_at_any_size_of_pixels(text, b_std, scale):
    network = Network(text, (8, 9, 3), b_std=b_std)
    x1, x2, cotangent = scale * network.images(2, 1), scale * network.images(5, 2), random_cotangent(2, 5)
    assert entry_error(network.block(x1, x2), network.oracle(x1, x2)) <= SCALED
    direction, expected = network.differences(x1, x2, cotangent, step=1e-4 * scale)
    assert error(along(network.vjp(x1, x2, cotangent), direction), expected) <= SCALED_VJP


def test_pixels_too_large_for_float32_are_refused():
    network = Network(LAYERS, SHAPE)
    with pytest.raises(InputError, match="float64"):
        network.backend("float32").prepare(1e20 * network.images(3, 1))
    one_of_many = network.images(3, 1)
    one_of_many[2] *= 1e20
    with pytest.raises(InputError, match=r"2 of 3.*float64"):
        network.backend("float32").prepare(one_of_many)


def test_pixels_so_small_that_float32_underflows():
    cotangent = random_cotangent(3, 5)
    biased, plain = (Network(LAYERS, SHAPE, b_std=b) for b in (0.1, 0.0))
    x1, x2 = (1e-20 * biased.images(n, n) for n in (3, 5))
    for dtype in DTYPES:
        assert error(biased.block(x1, x2, dtype), biased.oracle(x1, x2)) <= ALL_BIAS[dtype]
    for network in (biased, plain):
        assert np.isfinite(network.block(x1, x2, "float32")).all()
        assert np.isfinite(network.vjp(x1, x2, cotangent, "float32")).all()


def test_the_backend_is_what_was_asked_for():
    backend = Network(LAYERS, SHAPE).backend("float32")
    assert (backend.name, backend.dtype) == (BACKEND, np.dtype("float32"))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-40, 1e-22, 1e17])
def test_results_stay_finite_between_underflow_and_overflow(scale, dtype):
    network = Network(LAYERS, SHAPE, b_std=0.0)
    x = scale * network.images(3, 1)
    assert np.isfinite(network.block(x, x, dtype)).all()
    assert np.isfinite(network.vjp(x, x, np.ones((3, 3)), dtype)).all()


@pytest.mark.parametrize(
    ("text", "shape", "message"),
    [("conv relu " * 40 + "flatten dense", (4, 4, 1), "64 layers"), ("Myrtle-10", (224, 224, 3), "MiB per thread")],
)
def test_what_it_has_no_room_for_is_refused(text, shape, message):
    with pytest.raises(ConfigError, match=f"native: .*{message}"):
        Network(text, shape).backend()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kept", [0, 1, 10**9])
def test_a_sweep_gives_the_same_bits_whatever_it_keeps(monkeypatch, dtype, kept):
    """`kept` bytes per thread: nothing; nothing, as no plane is so small; everything."""
    backend = NativeBackend(parse_architecture("conv relu pool conv relu flatten dense"), SHAPE, np.dtype(dtype))
    h1, h2 = (backend.prepare(np.random.default_rng(n).standard_normal((n, *SHAPE))) for n in (5, 70))
    cotangent = np.random.default_rng(3).standard_normal((5, 70))
    block, gradient = backend.block(h1, h2), backend.block_vjp(h1, h2, cotangent)
    monkeypatch.setattr(native_sweep, "KEPT_BYTES_PER_THREAD", kept)
    sweep = backend.sweep(h1)
    for _ in range(2):  # the second one in the memory of the first
        sweep = backend.sweep(h1)
        for start in range(0, 70, sweep.at_once):
            part = slice(start, min(start + sweep.at_once, 70))
            np.testing.assert_array_equal(sweep.block(h2[part]), block[:, part])
            sweep.add(cotangent[:, part])
        np.testing.assert_array_equal(sweep.finish(), gradient)


def test_a_sweep_keeps_all_of_a_run_with_100_images():
    backend = NativeBackend(parse_architecture("ConvNet"), (32, 32, 3), np.dtype("float32"))
    handle = backend.prepare(np.zeros((100, 32, 32, 3)))
    assert backend.sweep(handle).kept_rows == 100
    assert backend.sweep(handle[:10]).kept_rows == 10
