"""Steps of KIP: any number of ranks, learned and fixed labels."""

import numpy as np
import pytest
from problems import images, kernels, labels, targets

from mpi4py import MPI

from hpcdistill.config import parse_config
from hpcdistill.errors import NotFiniteError
from hpcdistill.methods.kip.step import KipState, initial_state, kip_gradient, kip_update, make_adam


def run(comm, steps, settings=()):
    config = parse_config("", ["kip.learning_rate=0.03", "kip.label_learning_rate=0.01", "solve.reg=1e-3", *settings])
    adam = make_adam(config)
    state = initial_state(adam, images(5, 0), labels(5, 0), config)
    losses = []
    for _ in range(steps):
        gradient = kip_gradient(comm, kernels(), state, targets(20), config)
        losses.append(gradient.loss)
        state = kip_update(comm, adam, state, gradient)
    return state, losses


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_one_step_agrees_between_numbers_of_ranks(comm, loss):
    (together, losses), (alone, wanted) = (run(c, 1, [f"kip.loss={loss}"]) for c in (comm, MPI.COMM_SELF))
    np.testing.assert_allclose(losses, wanted, rtol=1e-10)
    np.testing.assert_allclose(together.x_s, alone.x_s, atol=1e-10)
    np.testing.assert_allclose(together.y_s, alone.y_s, atol=1e-10)


def test_all_ranks_hold_the_same_state_and_learn(comm):
    state, losses = run(comm, 12)
    assert state.step == 12
    for array in (state.x_s, state.y_s, *state.optimizer.values()):
        np.testing.assert_array_equal(array, comm.bcast(array, root=0))
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_fixed_labels_stay_as_they_are(comm):
    state, _ = run(comm, 3, ["kip.learn_labels=false"])
    np.testing.assert_array_equal(state.y_s, labels(5, 0))
    assert not any(name.startswith("labels") for name in state.optimizer)


def test_the_temperature_is_learned_where_it_has_a_rate(comm):
    learned, losses = run(comm, 12, ["kip.temperature=3"])
    fixed, _ = run(comm, 2, ["kip.temperature=3", "kip.temperature_rate=0"])
    squared, _ = run(comm, 2, ["kip.loss=squared_error"])
    assert abs(np.log(3) - learned.log_temperature) > 0.05
    assert comm.allgather(float(learned.log_temperature[0])) == [learned.log_temperature[0]] * comm.Get_size()
    assert fixed.log_temperature == np.log(3)
    assert squared.log_temperature == np.log(10)
    assert np.mean(losses[-4:]) < np.mean(losses[:4])


def test_a_gradient_that_is_not_finite_is_an_error_on_every_rank(comm):
    config = parse_config("", ["solve.reg=1e-3", "kip.loss=squared_error"])
    state = KipState(7, images(5, 0), labels(5, 0) * 1e200, np.zeros(1), {})
    with pytest.raises(NotFiniteError, match=r"step 7.*kip.learning_rate"), np.errstate(all="ignore"):
        kip_gradient(comm, kernels(), state, targets(20), config)
