"""Adam against optax's and against its published formulas."""

import jax
import numpy as np
import optax
import pytest

from hpcdistill.jax_runtime import configure_jax
from hpcdistill.learning.adam import Adam

RATES = {"images": 0.02, "labels": 0.3}


def parameters_and_gradients(rng, images, labels, order):
    def make():
        return {"images": rng.standard_normal(images), "labels": rng.standard_normal(labels) * 1e-3}

    return make(), [{name: np.asarray(value, order=order) for name, value in make().items()} for _ in range(5)]


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [10, 1000])
def test_it_is_that_of_optax(order, classes):
    """At sizes, and orders of axes, in which libraries return arrays of another layout."""
    configure_jax()
    parameters, steps = parameters_and_gradients(np.random.default_rng(0), (40, 6, 5, 3), (40, classes), order)
    adam, theirs = Adam(RATES), {name: optax.adam(rate) for name, rate in RATES.items()}
    state = adam.init(parameters)
    wanted = dict(parameters)
    moments = {name: optimizer.init(wanted[name]) for name, optimizer in theirs.items()}
    for gradients in steps:
        parameters, state = adam.update(parameters, gradients, state)
        for name, optimizer in theirs.items():
            change, moments[name] = optimizer.update(jax.numpy.asarray(gradients[name]), moments[name])
            wanted[name] = wanted[name] + np.asarray(change)
    for name in RATES:
        np.testing.assert_allclose(parameters[name], wanted[name], rtol=1e-13, atol=1e-13)
        assert state[f"{name}/count"] == 5
    assert all(array.flags.c_contiguous for array in (*parameters.values(), *state.values()))


def test_it_is_what_it_is_defined_as():
    """Kingma and Ba (arXiv:1412.6980), algorithm 1."""
    parameters, steps = parameters_and_gradients(np.random.default_rng(1), (2, 3, 3, 1), (2, 4), "C")
    adam = Adam({"images": 0.02})
    state, x, m, v = adam.init(parameters), parameters["images"].copy(), 0.0, 0.0
    for t, gradients in enumerate(steps, 1):
        parameters, state = adam.update(parameters, gradients, state)
        m, v = 0.9 * m + 0.1 * gradients["images"], 0.999 * v + 0.001 * gradients["images"] ** 2
        x = x - 0.02 * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
    np.testing.assert_allclose(parameters["images"], x, rtol=1e-13)
    assert "labels" not in parameters


def test_a_state_read_from_a_checkpoint_goes_on():
    """Whatever shape the counter was stored in."""
    parameters, (gradients, *_) = parameters_and_gradients(np.random.default_rng(2), (2, 3, 3, 1), (2, 4), "C")
    adam = Adam(RATES)
    _, state = adam.update(parameters, gradients, adam.init(parameters))
    stored = state | {"images/count": state["images/count"].reshape(1)}
    (one, new), (other, _) = (adam.update(parameters, gradients, before) for before in (stored, state))
    np.testing.assert_array_equal(one["images"], other["images"])
    assert new["images/count"].shape == (1,)
    assert new["images/count"].dtype == np.int32
