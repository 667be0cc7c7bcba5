"""Backend `native`: what holds for any architecture and any images, by random search."""

import dense_oracle
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import Network, along, random_cotangent, random_images

# Bounds are about ten times the worst of thousands of examples on x86-64: rarely, patches are almost parallel.
# Blocks, relative to √(K(x1, x1) K(x2, x2)); gradients, relative to the sum of these that the cotangent weights.
BLOCK = {"float64": 1e-13, "float32": 2e-5}
VJP = {"float64": 1e-10, "float32": 2e-5}
# Two ways to the same number.
SAME = {"float64": 4e-13, "float32": 5e-5}
# The most negative eigenvalue of a self-block relative to the largest, times the size of pixels where that is below 1:
# against the bias such images almost coincide.
POSITIVE = {"float64": 1e-14, "float32": 3e-6}

few = settings(max_examples=25, deadline=None)
dtypes = st.sampled_from(["float64", "float32"])
seeds = st.integers(0, 2**32 - 1)


def _relu_where_possible(words, wanted):
    """Return the layers with a relu behind each wanted one that has weights of its own since the last relu."""
    layers, weighted = [], False
    for word, relu in zip(words, wanted, strict=False):
        layers.append(word)
        weighted = weighted or word in ("conv", "dense")
        # Behind flatten the sum over pixels is no Gaussian process.
        if relu and weighted and word != "flatten":
            layers.append("relu")
            weighted = False
        weighted = weighted and word != "flatten"
    return layers


@st.composite
def layer_lists(draw, max_poolings):
    """Draw a valid list of layers with at most so many poolings: up to 6 before flatten or gap, up to 4 after it.

    No gap without a ReLU before it: the mean of random pixels may be next to nothing, and what follows is relative.
    """
    words = draw(st.lists(st.sampled_from(["conv", "conv", "pool"]), max_size=6))
    while words.count("pool") > max_poolings:
        words.remove("pool")
    after = ["dense"] * draw(st.integers(0, 3))
    wanted = draw(st.lists(st.booleans(), min_size=10, max_size=10))
    before = _relu_where_possible(words, wanted)
    collapse = draw(st.sampled_from(["flatten", "gap"])) if "relu" in before else "flatten"
    layers = _relu_where_possible([*words, collapse, *after], wanted)
    return " ".join([*layers, "dense"])


@st.composite
def networks(draw, divisible=False):
    """Draw a network and its image shape; `divisible`: no pooling drops a row or column."""
    height, width, channels = draw(st.integers(1, 9)), draw(st.integers(1, 9)), draw(st.integers(2, 4))
    text = draw(layer_lists(min(height, width).bit_length() - 1))
    if divisible:
        step = 2 ** text.count("pool")
        height, width = (-(-size // step) * step for size in (height, width))
    kind = draw(st.sampled_from(["ntk", "nngp"]))
    # Weaker weights would leave nothing but the bias: all patches would nearly coincide.
    w_std, b_std = draw(st.floats(1.0, 2.5)), draw(st.sampled_from([0.0, 0.1, 0.7]))
    return Network(text, (height, width, channels), kind, w_std, b_std, dense_oracle.kernel)


def assert_small(difference, scale, tolerance):
    assert (np.abs(difference) <= tolerance * scale).all(), float((np.abs(difference) / scale).max())


def pair(network, n1, n2, seed):
    return random_images(n1, network.shape, seed), random_images(n2, network.shape, seed + 1)


@few
@given(network=networks(), dtype=dtypes, n1=st.integers(1, 3), n2=st.integers(1, 19), seed=seeds)
def test_block_equals_dense_recursion(network, dtype, n1, n2, seed):
    x1, x2 = pair(network, n1, n2, seed)
    difference = network.block(x1, x2, dtype) - network.oracle(x1, x2)
    assert_small(difference, network.scale(x1, x2), BLOCK[dtype])


@few
@given(network=networks(), dtype=dtypes, n1=st.integers(1, 3), n2=st.integers(1, 19), seed=seeds)
def test_gradient_equals_central_differences(network, dtype, n1, n2, seed):
    x1, x2 = pair(network, n1, n2, seed)
    cotangent = random_cotangent(n1, n2, seed % 1000)
    direction, expected = network.differences(x1, x2, cotangent, step=1e-5)
    gradient = network.vjp(x1, x2, cotangent, dtype)
    # Cancelling terms of the sum over x2 leave less than each of them.
    size = (np.abs(cotangent) * network.scale(x1, x2)).sum(axis=1) * np.abs(direction).max()
    assert_small(along(gradient, direction) - expected, size, VJP[dtype])


@few
@given(network=networks(), dtype=dtypes, n=st.integers(1, 12), seed=seeds, size=st.floats(1e-3, 1e3))
def test_self_block_is_symmetric_and_positive_semi_definite(network, dtype, n, seed, size):
    x = size * random_images(n, network.shape, seed)
    x = np.concatenate([x, x[: n // 2], -x[: n // 3]])
    backend = network.backend(dtype)
    handle = backend.prepare(x)
    block = backend.block(handle, handle)
    np.testing.assert_array_equal(block, block.T)
    values = np.linalg.eigvalsh(block.astype(np.float64))
    assert values.min() >= -POSITIVE[dtype] / min(size, 1) * values.max()


@few
@given(network=networks(), dtype=dtypes, n1=st.integers(1, 5), n2=st.integers(1, 20), seed=seeds)
def test_exchanging_the_images_transposes_the_block(network, dtype, n1, n2, seed):
    x1, x2 = pair(network, n1, n2, seed)
    difference = network.block(x2, x1, dtype).T - network.block(x1, x2, dtype)
    assert_small(difference, network.scale(x1, x2), SAME[dtype])


def transposed(network):
    height, width, channels = network.shape
    a = network.architecture
    return Network(a.name, (width, height, channels), a.kind, a.w_std, a.b_std)


@few
@given(network=networks(), dtype=dtypes, n2=st.integers(1, 19), seed=seeds)
def test_exchanging_rows_and_columns_changes_nothing(network, dtype, n2, seed):
    x1, x2 = pair(network, 2, n2, seed)
    other = transposed(network).block(x1.swapaxes(1, 2), x2.swapaxes(1, 2), dtype)
    assert_small(other - network.block(x1, x2, dtype), network.scale(x1, x2), SAME[dtype])


@few
@given(network=networks(), dtype=dtypes, n2=st.integers(1, 19), seed=seeds)
def test_gradient_turns_with_the_images(network, dtype, n2, seed):
    x1, x2 = pair(network, 2, n2, seed)
    cotangent = random_cotangent(2, n2)
    gradient = network.vjp(x1, x2, cotangent, dtype)
    other = transposed(network).vjp(x1.swapaxes(1, 2), x2.swapaxes(1, 2), cotangent, dtype)
    size = (np.abs(cotangent) * network.scale(x1, x2)).sum(axis=1)[:, None, None, None]
    assert_small(other.swapaxes(1, 2) - gradient, size, VJP[dtype])


@few
@given(network=networks(divisible=True), dtype=dtypes, axis=st.sampled_from([1, 2, 3, (1, 2)]), seed=seeds)
def test_flipping_both_images_changes_nothing(network, dtype, axis, seed):
    x1, x2 = pair(network, 2, 5, seed)
    flipped = network.block(np.flip(x1, axis), np.flip(x2, axis), dtype)
    assert_small(flipped - network.block(x1, x2, dtype), network.scale(x1, x2), SAME[dtype])


@few
@given(network=networks(), dtype=dtypes, power=st.integers(-20, 20), seed=seeds)
def test_without_bias_kernels_are_homogeneous(network, dtype, power, seed):
    a = network.architecture
    plain = Network(a.name, network.shape, a.kind, a.w_std, 0.0)
    x1, x2 = pair(plain, 2, 5, seed)
    scaled = plain.block(2.0**power * x1, x2, dtype) / 2.0**power
    assert_small(scaled - plain.block(x1, x2, dtype), plain.scale(x1, x2), SAME[dtype])
