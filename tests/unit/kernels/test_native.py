"""Backend `native` on random images: against the recursion in long double and neural-tangents, and what it promises."""

from functools import cache

import numpy as np
import pytest
from native_support import Network, along, entry_error, error, random_cotangent

DTYPES = ("float64", "float32")

# Bounds are two to five times what is seen on x86-64 with each of its instruction sets.
# Blocks, relative to the entry (of networks that are linear up to flatten or gap, at least to a tenth of
# √(K(x1, x1) K(x2, x2)): there an entry may be next to nothing, by cancellation).
BLOCK = {"float64": 2e-14, "float32": 4e-6}
# Gradients, relative to the largest entry: against neural-tangents, and against differences along random directions.
VJP = {"float64": 2e-11, "float32": 3e-5}
# Another order of summation.
ROUNDING = {"float64": 2e-15, "float32": 1e-6}

NARROW = "conv relu conv relu flatten dense"
# Layers, image shape, W, b. No number of images, rows, columns or channels is always a multiple of another.
NETWORKS = [
    ("ConvNet", (8, 8, 3), 2**0.5, 0.1),
    ("ConvNet", (9, 11, 1), 2**0.5, 0.0),
    ("ConvNet3", (8, 10, 2), 1.3, 0.2),
    ("Conv-Vec2", (5, 4, 3), 2**0.5, 0.1),
    ("Conv-Vec4", (3, 7, 7), 0.8, 0.5),
    ("Myrtle-5", (8, 8, 3), 2**0.5, 0.1),
    ("Myrtle-7", (4, 9, 4), 1.3, 0.0),
    ("Myrtle-10", (6, 5, 1), 2**0.5, 0.1),
    ("conv conv relu pool conv relu flatten dense relu dense", (7, 6, 2), 1.3, 0.1),
    ("pool conv relu gap dense", (5, 7, 3), 2**0.5, 0.1),
    ("conv relu pool pool conv relu flatten dense", (9, 8, 1), 2**0.5, 0.1),
    ("conv relu gap dense relu dense", (4, 6, 3), 1.1, 0.0),
    ("conv pool relu conv relu conv flatten dense dense relu dense", (6, 5, 2), 1.2, 0.1),
    ("conv gap relu dense", (3, 5, 4), 2**0.5, 0.1),
    ("pool conv pool relu conv pool relu gap dense relu dense relu dense", (11, 9, 2), 2**0.5, 0.1),
    ("conv conv pool conv gap dense", (5, 4, 3), 1.3, 0.2),
    ("pool pool flatten dense", (9, 6, 2), 1.3, 0.2),
    ("flatten dense relu dense relu dense", (4, 5, 3), 2**0.5, 0.1),
    ("gap dense relu dense", (4, 5, 7), 1.3, 0.0),
    ("flatten dense", (3, 2, 1), 1.3, 0.0),
]
CASES = [(*network, kind) for network in NETWORKS for kind in ("ntk", "nngp")]
GENERAL = NETWORKS[8]


@cache
def build(text, shape, w_std, b_std, kind="ntk"):
    return Network(text, shape, kind, w_std, b_std)


@cache
def reference(case, n1, n2):
    network = build(*case)
    x1, x2 = network.images(n1, 1), network.images(n2, 2)
    layers = network.architecture.layers
    linear = "relu" not in layers[: next(i for i, layer in enumerate(layers) if layer in ("flatten", "gap"))]
    return x1, x2, network.oracle(x1, x2), network.scale(x1, x2) if linear else 0.0


@cache
def slopes(case, n1, n2):
    network = build(*case)
    return network.differences(network.images(n1, 1), network.images(n2, 2), random_cotangent(n1, n2))


@pytest.fixture(params=DTYPES)
def general(request):
    """A network with all layers, its backend, and handles of 5 and 37 images."""
    network = build(*GENERAL)
    backend = network.backend(request.param)
    return network, backend, backend.prepare(network.images(5, 1)), backend.prepare(network.images(37, 2))


def block_error(case, dtype, n1, n2):
    x1, x2, expected, scale = reference(case, n1, n2)
    block = build(*case).block(x1, x2, dtype)
    assert block.dtype == dtype
    return entry_error(block, expected, scale)


def vjp_error(case, dtype, n1, n2):
    network = build(*case)
    direction, expected = slopes(case, n1, n2)
    gradient = network.vjp(network.images(n1, 1), network.images(n2, 2), random_cotangent(n1, n2), dtype)
    assert gradient.dtype == dtype
    return error(along(gradient, direction), expected)


def shapes_of_height(height):
    """Return slim images of this height and of this width, and where it is small a square one; 1 to 7 channels."""
    slim = {(height, 1), (1, height), (height, 2 + height % 3), (4 + height % 5, height)}
    square = {(height, height)} if height <= 12 else set()
    return [(h, w, (1, 2, 3, 4, 7)[(h + w) % 5]) for h, w in sorted(slim | square)]


def networks_of_size(height, width):
    """Return a network without poolings, and where the size admits one, as many poolings as it admits, up to 3."""
    n_poolings = min(3, min(height, width).bit_length() - 1)
    pooled = " ".join(["conv relu"] + ["conv relu pool"] * n_poolings)
    return [NARROW, f"{pooled} conv relu gap dense"] if n_poolings else [NARROW]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0].replace(' ', '.')}-{c[4]}")
def test_block_equals_dense_recursion(case, dtype):
    assert block_error(case, dtype, 3, 19) <= BLOCK[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n2", [1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33])
def test_any_number_of_images(n2, dtype):
    assert block_error(GENERAL, dtype, 2, n2) <= BLOCK[dtype]
    assert vjp_error(GENERAL, dtype, 2, n2) <= VJP[dtype]
    assert block_error(GENERAL, dtype, n2, 1) <= BLOCK[dtype]


@pytest.mark.parametrize("height", range(1, 34))
def test_every_height_and_width(height):
    for shape in shapes_of_height(height):
        for text in networks_of_size(*shape[:2]):
            for dtype in DTYPES:
                # One pixel of one channel leaves patches that are multiples of each other but for the bias.
                loose = 100 if max(shape) == 1 else 1
                assert block_error((text, shape, 2**0.5, 0.1), dtype, 1, 2) <= loose * BLOCK[dtype], (text, shape)


@pytest.mark.parametrize("height", range(1, 34, 2))
def test_gradient_at_every_other_height(height):
    for h, w, c in shapes_of_height(height):
        for text in networks_of_size(h, w) if h * w <= 40 else ():
            for dtype in DTYPES:
                case = (text, (h, w, max(c, 2)), 2**0.5, 0.1)
                assert vjp_error(case, dtype, 1, 2) <= VJP[dtype], case


@pytest.mark.slow
@pytest.mark.parametrize("size", [16, 17, 31, 32, 33])
def test_square_images_up_to_33(size):
    case = ("ConvNet" if size % 2 else "Myrtle-5", (size, size, 3), 2**0.5, 0.1)
    for dtype in DTYPES:
        assert block_error(case, dtype, 1, 1) <= BLOCK[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c[0].replace(' ', '.')}-{c[4]}")
def test_gradient_equals_central_differences(case, dtype):
    assert vjp_error(case, dtype, 2, 5) <= VJP[dtype]


@pytest.mark.parametrize(
    "case", [(*NETWORKS[0], "ntk"), (*GENERAL, "ntk"), (*NETWORKS[11], "nngp")], ids=lambda c: f"{c[0][:12]}-{c[4]}"
)
def test_gradient_equals_that_of_neural_tangents(case):
    network = build(*case)
    arguments = network.images(2, 1), network.images(3, 2), random_cotangent(2, 3)
    expected = network.vjp(*arguments, name="tangents")
    for dtype in DTYPES:
        assert error(network.vjp(*arguments, dtype), expected) <= VJP[dtype]
    assert error(network.block(*arguments[:2]), network.block(*arguments[:2], name="tangents")) <= BLOCK["float64"]


def test_a_tile_is_exactly_the_slice_of_the_whole(general):
    _, backend, h1, h2 = general
    whole = backend.block(h1, h2)
    for rows, columns in ((0, 5), (1, 30)), ((2, 3), (0, 1)), ((3, 5), (7, 24)), ((0, 4), (36, 37)), ((1, 2), (3, 20)):
        rows, columns = slice(*rows), slice(*columns)
        np.testing.assert_array_equal(backend.block(h1[rows], h2[columns]), whole[rows, columns])


def test_a_tile_of_a_self_block_is_the_slice_of_the_whole(general):
    network, backend, _, h2 = general
    whole = backend.block(h2, h2)
    np.testing.assert_array_equal(whole, whole.T)
    for rows, columns in ((0, 9), (0, 9)), ((2, 5), (4, 37)), ((5, 9), (20, 33)), ((20, 31), (3, 17)):
        tile = backend.block(h2[slice(*rows)], h2[slice(*columns)])
        assert error(tile, whole[slice(*rows), slice(*columns)]) <= ROUNDING[str(backend.dtype)]
    copy = backend.prepare(network.images(37, 2))
    assert error(backend.block(h2, copy), whole) <= ROUNDING[str(backend.dtype)]


def test_gradients_of_tiles_add_up(general):
    _, backend, h1, h2 = general
    cotangent = random_cotangent(5, 37)
    whole = backend.block_vjp(h1, h2, cotangent)
    np.testing.assert_array_equal(backend.block_vjp(h1[1:3], h2, cotangent[1:3]), whole[1:3])
    parts = sum(backend.block_vjp(h1, h2[c], cotangent[:, c]) for c in (slice(0, 3), slice(3, 20), slice(20, 37)))
    assert error(parts, whole) <= ROUNDING[str(backend.dtype)]
    zero = backend.block_vjp(h1, h2, np.zeros_like(cotangent))
    np.testing.assert_array_equal(zero, np.zeros_like(zero))
