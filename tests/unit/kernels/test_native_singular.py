"""Backend `native` where patches coincide: the arc-cosine has a root there, and its derivative a pole.

With θ the angle between two patches, the tangent kernel has a kink |θ| wherever two patches coincide (and where they
are opposite). Its derivative counts as 0 there, which is the symmetric derivative: the limit of
(K(x + h d) − K(x − h d)) / 2h. `native` takes all patches closer than 1e-6 radian (float64) or 1e-3 (float32) as
coincident in gradients. Accordingly the differences below straddle the kink where patches coincide or nearly do
(step far above their distance, errors of first order in it), and stay on one side of it elsewhere (step far below the
distance). In between, where the slope is that of neither side, gradients must be finite and of bounded size.

A patch of zeros without bias is the other singularity: the norm has a kink, the angle of the patch is undefined, and
counts as π/2. That is the symmetric derivative where one ReLU follows; behind more there is none, linear in the
direction, and gradients must only be finite.
"""

from functools import cache

import numpy as np
import pytest
from native_support import Network, along, entry_error, error, random_cotangent
from sklearn.datasets import load_digits

from hpcdistill.data.preprocess import fit_standardisation

DTYPES = ("float64", "float32")

# Bounds are two to five times what is seen on x86-64, where they do not follow from the thresholds. In float64 1e-10 of
# that is the reference's: the root of long double's rounding.
# Blocks, relative to the entry: where patches coincide, and per ReLU where they nearly do, since a 1 − c below 2^-50
# (2^-21) counts as 0: √(2 · 2^-50) / π and √(2 · 2^-21) / π of the tangent kernel.
BLOCK = {"float64": 5e-10, "float32": 1.5e-5}
NEARLY = {"float64": 1.4e-8, "float32": 3.2e-4}
# Gradients along random directions relative to the largest of them. Where patches coincide:
COINCIDENT = {"float64": 6e-8, "float32": 5e-5}
# Where they are a distance ε apart: rounding in 1 − c² ≈ ε² decides, so C / ε², and not better than on random images.
NEAR = {"float64": 5e-14, "float32": 2e-6}
RANDOM = {"float64": 2e-10, "float32": 2e-5}
# Between both: change against the gradient at the coincidence, relative to the largest entry of that.
KINK = 1.0

ALL = "conv conv relu pool conv relu flatten dense relu dense"
NETWORKS = [("ConvNet", (8, 8, 1)), ("Myrtle-5", (8, 9, 3)), (ALL, (7, 6, 2)), ("conv relu flatten dense", (5, 4, 1))]
GRID = [(*network, kind, b) for network in NETWORKS for kind in ("ntk", "nngp") for b in (0.1, 0.0)]
TANGENT = [case for case in GRID if case[2] == "ntk"]
BACKGROUND = -0.42


@cache
def build(text, shape, kind, b_std):
    return Network(text, shape, kind, b_std=b_std)


def constant(network, rng):
    del rng
    values = np.array([1.0, -0.42, 2.5, 1.0, -1.0])
    x = np.broadcast_to(values[:, None, None, None], (5, *network.shape))
    return x[:2], x[1:]


def strokes(n, shape, rng, background=BACKGROUND):
    """Return images of a constant background with a few strokes of a random walk, in (a, b) of MNIST's range."""
    x = np.full((n, *shape), background)
    for image in x:
        at = rng.integers(shape[:2])
        for _ in range(max(3, shape[0] * shape[1] // 12)):
            image[tuple(at)] = rng.uniform(0, 2.8)
            at = np.clip(at + rng.integers(-1, 2, 2), 0, np.array(shape[:2]) - 1)
    return x


def mnist_like(network, rng):
    return strokes(2, network.shape, rng), strokes(4, network.shape, rng)


def shared_half(network, rng):
    x1, x2 = rng.normal(size=(2, *network.shape)), rng.normal(size=(4, *network.shape))
    half = network.shape[0] // 2
    x2[:, :half] = x1[0, :half]
    return x1, x2


def copies(network, rng):
    x = rng.normal(size=(4, *network.shape))
    return x[:2], x


def shifted(network, rng):
    x = rng.normal(size=(2, *network.shape))
    return x, np.concatenate([np.roll(x, 1, axis=1), np.roll(x, 2, axis=2)])


def opposite(network, rng):
    x = rng.normal(size=(4, *network.shape))
    return x[:2], np.concatenate([-x[:2], x[2:]])


def zeros(network, rng):
    x = rng.normal(size=(4, *network.shape))
    x[0] = x[2] = 0
    return x[:2], x


def zero_background(network, rng):
    return strokes(2, network.shape, rng, 0.0), strokes(4, network.shape, rng, 0.0)


SETS = (constant, mnist_like, shared_half, copies, shifted, opposite, zeros, zero_background)
HAS_ZERO_PATCHES = (zeros, zero_background)


def images(make, network, seed=0):
    """Return both sets, with pixels that float32 holds exactly."""
    return [x.astype(np.float32).astype(np.float64) for x in make(network, np.random.default_rng(seed))]


@cache
def reference(make, case):
    network = build(*case)
    x1, x2 = images(make, network)
    return x1, x2, network.oracle(x1, x2)


@cache
def slopes(make, case):
    network = build(*case)
    x1, x2 = images(make, network)
    return network.differences(x1, x2, random_cotangent(len(x1), len(x2)), step=1e-5, order=1)


def names(value):
    return getattr(value, "__name__", None) or "-".join(str(v).replace(" ", ".") for v in value)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRID, ids=names)
@pytest.mark.parametrize("make", SETS, ids=names)
def test_block_where_patches_coincide(make, case, dtype):
    x1, x2, expected = reference(make, case)
    assert entry_error(build(*case).block(x1, x2, dtype), expected) <= BLOCK[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRID, ids=names)
@pytest.mark.parametrize("make", SETS, ids=names)
def test_gradient_where_patches_coincide(make, case, dtype):
    network = build(*case)
    x1, x2 = images(make, network)
    gradient = network.vjp(x1, x2, random_cotangent(len(x1), len(x2)), dtype)
    assert np.isfinite(gradient).all()
    one_relu = network.architecture.layers.count("relu") == 1
    if make not in HAS_ZERO_PATCHES or network.architecture.b_std > 0 or one_relu:
        direction, expected = slopes(make, case)
        assert error(along(gradient, direction), expected) <= COINCIDENT[dtype]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("case", GRID, ids=names)
def test_images_with_themselves(case, dtype):
    """The prepared set against itself: known pairs, exact symmetry, and the derivative through both arguments."""
    network = build(*case)
    x = np.concatenate(images(copies, network))[1:5]
    backend = network.backend(dtype)
    handle = backend.prepare(x)
    block = backend.block(handle, handle)
    np.testing.assert_array_equal(block, block.T)
    assert entry_error(block, network.oracle(x, x)) <= BLOCK[dtype]
    cotangent = random_cotangent(4, 4)
    gradient = backend.block_vjp(handle, handle, cotangent + cotangent.T)
    direction = np.random.default_rng(4).normal(size=x.shape).astype(np.longdouble)

    def slope(h):
        up, down = (network.oracle(x + sign * h * direction, x + sign * h * direction) for sign in (1, -1))
        return (cotangent * (up - down)).sum() / (2 * h)

    expected = 2 * slope(np.longdouble(1e-5)) - slope(np.longdouble(2e-5))
    assert abs(along(gradient, direction).sum() - expected) <= COINCIDENT[dtype] * np.abs(gradient).sum()


def near_duplicate(network, epsilon, radial):
    x = network.images(2, 0)
    noise = x if radial else network.images(2, 1)
    return x, x + epsilon * noise


@pytest.mark.slow
@pytest.mark.parametrize("case", TANGENT, ids=names)
@pytest.mark.parametrize("radial", [True, False])
def test_near_duplicates(case, radial):
    network = build(*case)
    cotangent = random_cotangent(2, 2)
    n_relu = network.architecture.layers.count("relu")
    # For float32 a reference in float64 is good to 1e-8 here, and ten times as fast.
    for dtype, reference_dtype in zip(DTYPES, (np.longdouble, np.float64), strict=True):
        at_duplicate = network.vjp(*near_duplicate(network, 0.0, radial), cotangent, dtype)
        for epsilon in np.logspace(-1, -15, 15):
            x1, x2 = (x.astype(dtype) for x in near_duplicate(network, epsilon, radial))
            block, gradient = network.block(x1, x2, dtype), network.vjp(x1, x2, cotangent, dtype)
            assert entry_error(block, network.oracle(x1, x2, reference_dtype)) <= n_relu * NEARLY[dtype], epsilon
            assert np.isfinite(gradient).all()
            if epsilon < 0.05:
                assert np.abs(gradient - at_duplicate).max() <= KINK * np.abs(at_duplicate).max(), epsilon


@pytest.mark.parametrize("case", TANGENT, ids=names)
@pytest.mark.parametrize(("dtype", "exponents"), [("float64", (1, 2, 3, 4)), ("float32", (1,))])
def test_gradient_at_near_duplicates_is_that_of_one_side(case, dtype, exponents):
    network = build(*case)
    cotangent = random_cotangent(2, 2)
    for exponent in exponents:
        epsilon = 10.0**-exponent
        x1, x2 = (x.astype(dtype) for x in near_duplicate(network, epsilon, radial=False))
        # Small against ε for the differences' own error, not too small for long double's rounding.
        step = epsilon / (1000 if exponent <= 2 else 200)
        direction, expected = network.differences(x1, x2, cotangent, step)
        tolerance = max(RANDOM[dtype], NEAR[dtype] / epsilon**2)
        assert error(along(network.vjp(x1, x2, cotangent, dtype), direction), expected) <= tolerance, exponent


@pytest.mark.parametrize("case", TANGENT, ids=names)
@pytest.mark.parametrize(("dtype", "exponents"), [("float64", (10, 12, 15)), ("float32", (7, 8))])
def test_gradient_at_nearly_equal_images_is_symmetric(case, dtype, exponents):
    network = build(*case)
    cotangent = random_cotangent(2, 2)
    step = {"float64": 1e-4, "float32": 1e-3}[dtype]
    for exponent in exponents:
        x1, x2 = (x.astype(dtype) for x in near_duplicate(network, 10.0**-exponent, radial=False))
        direction, expected = network.differences(x1, x2, cotangent, step=step, order=1)
        gradient = network.vjp(x1, x2, cotangent, dtype)
        assert error(along(gradient, direction), expected) <= 10 * COINCIDENT[dtype], exponent


@pytest.mark.parametrize("b_std", [0.1, 0.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_images_of_full_size_with_a_constant_background(dtype, b_std):
    case = ("ConvNet", (28, 28, 1), "ntk", b_std)
    x1, x2, expected = full_size(case)
    network = build(*case)
    assert entry_error(network.block(x1, x2, dtype), expected) <= BLOCK[dtype]
    assert np.isfinite(network.vjp(x1, x2, np.ones((1, 1)), dtype)).all()


@cache
def full_size(case):
    network = build(*case)
    x1, x2 = (strokes(1, network.shape, np.random.default_rng(seed)).astype(np.float32) for seed in (0, 1))
    return x1, x2, network.oracle(x1, x2)


@pytest.mark.parametrize("text", ["ConvNet", "Myrtle-5", "conv relu conv relu pool conv relu pool flatten dense"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_written_digits(text, dtype):
    raw = load_digits().images[..., None].astype(np.float32)
    standard = fit_standardisation(raw, np.arange(len(raw)), (0, 16)).apply(raw[:8])
    x1, x2 = standard[:2].astype(np.float32), standard.astype(np.float32)
    network = build(text, (8, 8, 1), "ntk", 0.1)
    assert entry_error(network.block(x1, x2, dtype), network.oracle(x1, x2)) <= BLOCK[dtype]
    cotangent = random_cotangent(2, 8)
    direction, expected = network.differences(x1, x2, cotangent, step=1e-5, order=1)
    assert error(along(network.vjp(x1, x2, cotangent, dtype), direction), expected) <= COINCIDENT[dtype]
