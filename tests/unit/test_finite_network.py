"""Networks of finite width: against NumPy, against their infinitely wide limit, and what learning rate they bear."""

import jax
import jax.flatten_util
import numpy as np
import pytest

from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import NotFiniteError
from hpcdistill.jax_runtime import single_precision
from hpcdistill.kernels.tangents import TangentsBackend
from hpcdistill.learning.finite_network import FiniteNetwork, TangentOperator
from hpcdistill.learning.network_training import EVALUATION_ROWS, MOMENTUM, Trained, Trainer, Training, draw_batches

SHAPE, CLASSES = (6, 6, 2), 3
CONV, LINEAR = "conv relu pool flatten dense", "flatten dense"
PARAMETERIZATIONS = ("standard", "ntk")


def make(layers=CONV, width=8, parameterization="standard", classes=CLASSES, shape=SHAPE):
    with single_precision():
        return FiniteNetwork(parse_architecture(layers), shape, classes, width, parameterization)


def images(n, seed=0, shape=SHAPE):
    return np.random.default_rng(seed).standard_normal((n, *shape)).astype(np.float32)


def labels(n, classes=CLASSES):
    return np.eye(classes)[np.arange(n) % classes] - 1 / classes


def initial(network, *seed):
    with single_precision():
        return network.initialise(seed or (0,))


def convolve(x, w):
    """3×3 convolution of zero-padded images, by its definition."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = x.shape[1:3]
    return sum(padded[:, i : i + height, j : j + width] @ w[i, j] for i in range(3) for j in range(3))


def conv_by_numpy(network, parameters, x):
    """The outputs of `CONV`, float64."""
    (w, b), _, _, _, (v, c) = parameters
    scale = np.array([1.0, 1.0, 1.0])
    if network.parameterization == "ntk":
        w_std, b_std = network.architecture.w_std, network.architecture.b_std
        scale = np.array([w_std / np.sqrt(w[..., 0].size), w_std / np.sqrt(len(v)), b_std])
    hidden = np.maximum(scale[0] * convolve(x.astype(np.float64), w) + scale[2] * b, 0)
    n, height, width, channels = hidden.shape
    pooled = hidden.reshape(n, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
    return scale[1] * pooled.reshape(n, -1) @ v + scale[2] * c


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
@pytest.mark.parametrize("width", [1, 8, 33])
def test_outputs_are_those_of_numpy_in_float32(parameterization, width):
    network, x = make(width=width, parameterization=parameterization), images(5)
    parameters = initial(network)
    with single_precision():
        outputs = network.apply(parameters, x)
    assert {leaf.dtype for leaf in jax.tree.leaves((parameters, outputs))} == {np.dtype(np.float32)}
    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
    np.testing.assert_allclose(outputs, conv_by_numpy(network, exact, x), rtol=0, atol=2e-5)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_gradient_of_the_loss_by_differences(parameterization):
    network, x, y, l2 = make(parameterization=parameterization), images(5), labels(5), 0.03
    trainer, parameters = Trainer(network, Training(l2=l2)), initial(network)
    with single_precision():
        gradient = jax.grad(trainer._loss)(parameters, x, y.astype(np.float32))
    ravel = jax.flatten_util.ravel_pytree
    flat, rebuild = ravel(jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters))

    def loss(theta):
        residual = conv_by_numpy(network, jax.tree.map(np.asarray, rebuild(theta)), x) - y
        return float(0.5 * np.mean(residual**2) + 0.5 * l2 * np.sum(theta**2))

    for seed in range(3):
        direction = np.random.default_rng(seed).standard_normal(len(flat))
        difference = (loss(flat + 1e-6 * direction) - loss(flat - 1e-6 * direction)) / 2e-6
        found = float(np.asarray(ravel(gradient)[0], np.float64) @ direction)
        assert found == pytest.approx(difference, rel=1e-3)


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_initialisation_has_its_scale(parameterization):
    _, (w, b), _, _ = initial(make("flatten dense relu dense", 400, parameterization))
    architecture = parse_architecture("FC1")
    scales = (architecture.w_std / np.sqrt(72), architecture.b_std) if parameterization == "standard" else (1, 1)
    assert np.std(w) == pytest.approx(scales[0], rel=0.03)
    assert np.std(b) == pytest.approx(scales[1], rel=0.15)


def empirical_kernel(network, x, *seed):
    """The tangent kernel `(n, n)` of a random network, the mean over its outputs."""
    n, classes, kernel = len(x), network.n_classes, 0.0
    parameters, operator = initial(network, *seed), TangentOperator(network, rows=3)
    for k in range(classes):
        for i in range(n):
            u = np.zeros((n, classes), np.float32)
            u[i, k] = 1
            with single_precision():
                kernel = kernel + np.outer(np.eye(n)[i], operator.product(parameters, x, u)[:, k])
    return kernel / classes


@pytest.mark.parametrize("layers", [CONV, "flatten dense relu dense relu dense"])
def test_the_tangent_kernel_of_wide_networks_is_the_analytic_one(layers):
    x = images(4)
    backend = TangentsBackend(parse_architecture(layers), SHAPE, np.dtype(np.float64))
    handle = backend.prepare(x)
    exact = backend.block(handle, handle)

    def error(width):
        network = make(layers, width, "ntk", classes=4)
        mean = np.mean([empirical_kernel(network, x, seed) for seed in range(3)], axis=0)
        return np.abs(mean - exact).max() / np.abs(exact).max()

    assert error(1024) < min(0.06, error(16) / 2)  # it falls as 1/√width, and grows with depth


@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_largest_stable_rate_of_a_linear_network(parameterization):
    n, l2 = 7, 0.05
    network, x = make(LINEAR, parameterization=parameterization), images(n)
    flat, architecture = x.reshape(n, -1).astype(np.float64), network.architecture
    kernel = flat @ flat.T + 1
    if parameterization == "ntk":
        kernel = architecture.w_std**2 / flat.shape[1] * flat @ flat.T + architecture.b_std**2
    hessian = np.linalg.eigvalsh(kernel)[-1] / (n * CLASSES) + l2
    for batch in (100, 2):  # all at once, and in parts
        trainer = Trainer(network, Training(l2=l2, batch=batch))
        with single_precision():
            rate = trainer.largest_stable_rate(initial(network), x)
        assert rate == pytest.approx(2 * (1 + MOMENTUM) / hessian, rel=2e-3)


@pytest.mark.parametrize("batch", [3, 100])
def test_steps_of_momentum_cosine_and_l2(batch):
    n, steps, l2, seed = 7, 9, 0.05, (1, 2)
    network, x, y = make(LINEAR), images(n), labels(n)
    trained = Trainer(network, Training(steps, batch, l2, 0.2)).train(x, y, seed)
    flat, (_, (w, b)) = x.reshape(n, -1).astype(np.float64), initial(network, *seed)
    theta = np.concatenate([np.asarray(w, np.float64), np.asarray(b, np.float64)])
    velocity, batches = np.zeros_like(theta), draw_batches(n, batch, seed)
    for step in range(steps):
        rows = next(batches)
        inputs = np.hstack([flat[rows], np.ones((len(rows), 1))])
        residual = inputs @ theta - y[rows]
        loss = 0.5 * np.mean(residual**2) + 0.5 * l2 * np.sum(theta**2)
        velocity = MOMENTUM * velocity + inputs.T @ residual / residual.size + l2 * theta
        theta = theta - trained.learning_rate * 0.5 * (1 + np.cos(np.pi * step / steps)) * velocity
    _, (w, b) = trained.parameters
    np.testing.assert_allclose(np.concatenate([w, b]), theta, rtol=0, atol=2e-5)
    assert trained.loss == pytest.approx(loss, rel=1e-4)


def test_the_largest_stable_rate_is_stable_and_more_is_not():
    network, x, y = make(LINEAR), images(8), labels(8)

    def losses(multiple):
        told = []
        training = Training(400, l2=0.0, learning_rate=multiple)
        Trainer(network, training).train(x, y, (0,), lambda step, loss: told.append(loss))
        return told

    stable, beyond = losses(1.0), losses(1.05)  # the cosine brings back what is not far beyond
    assert stable[0] < 0.1
    assert stable[-1] < 1e-9
    assert beyond[0] > 1e6
    with pytest.raises(NotFiniteError, match=r"diverged by step \d+, with a learning rate of .*--learning-rate"):
        Trainer(network, Training(400, l2=0.0, learning_rate=2.2)).train(x, y, (0,))


def test_predictions_that_are_not_finite_are_no_accuracy():
    network = make()
    parameters = jax.tree.map(lambda leaf: leaf * np.float32(np.nan), initial(network))
    with pytest.raises(NotFiniteError, match="--learning-rate"):
        Trainer(network, Training()).accuracy(Trained(parameters, 0.1, 0.0), lambda a, b: (images(4), labels(4)), 4)


def test_a_relu_network_learns_its_support():
    network, x, y = make(width=32), images(6), labels(6)
    trainer = Trainer(network, Training(300, batch=4, l2=1e-4))
    trained = trainer.train(x, y, (0,))
    assert trainer.accuracy(trained, lambda a, b: (x[a:b], y[a:b]), 6) == 1
    many, right = np.tile(x, (50, 1, 1, 1)), np.tile(y, (50, 1))
    right[:30] = np.roll(right[:30], 1, axis=1)
    assert len(many) > 2 * EVALUATION_ROWS
    assert trainer.accuracy(trained, lambda a, b: (many[a:b], right[a:b]), 300) == pytest.approx(0.9)


def test_a_training_is_a_function_of_its_seed():
    network, x, y = make(), images(6), labels(6)
    trainer = Trainer(network, Training(20, batch=4))
    first, same, other = (jax.tree.leaves(trainer.train(x, y, seed).parameters) for seed in [(0, 1), (0, 1), (1, 0)])
    assert all(np.array_equal(a, b) for a, b in zip(first, same, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_batches_go_through_all_images():
    batches = draw_batches(10, 4, (0,))
    drawn = np.concatenate([next(batches) for _ in range(5)])
    assert sorted(drawn[:10]) == sorted(drawn[10:]) == list(range(10))
    assert list(drawn[:10]) != list(drawn[10:])
    assert list(next(draw_batches(4, 4, (0,)))) == [0, 1, 2, 3]


@pytest.mark.parametrize(("layers", "width", "shape"), [
    ("ConvNet3", 32, (16, 16, 3)), ("FC2", 512, (8, 8, 1)), ("Myrtle-5", 16, (16, 16, 1)),
])  # fmt: skip
def test_memory_is_estimated_from_above(layers, width, shape):
    network, batch = make(layers, width, shape=shape), 20
    trainer, parameters = Trainer(network, Training(batch=batch)), initial(network)
    assert network.n_parameters == sum(leaf.size for leaf in jax.tree.leaves(parameters))
    x, y = images(batch, shape=shape), labels(batch).astype(np.float32)
    with single_precision():
        state = trainer._optimizer(0.1).init(parameters)
        lowered = (trainer._step.lower(parameters, state, 0.1, x, y, np.arange(batch)),
                   trainer._tangents._pull.lower(parameters, x, y),
                   trainer._tangents._push.lower(parameters, x, parameters))  # fmt: skip
    needs = [one.compile().memory_analysis() for one in lowered]
    most = max(m.argument_size_in_bytes + m.output_size_in_bytes + m.temp_size_in_bytes for m in needs)
    assert 0.3 * network.training_bytes(batch, 0) < most < network.training_bytes(batch, 0)
