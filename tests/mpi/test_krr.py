"""Distributed kernel ridge regression against its definition, differences, and itself on one rank."""

import numpy as np
import pytest
from problems import CLASSES, dense_loss, dense_prediction, images, kernels, labels, targets

from mpi4py import MPI

from hpcdistill.errors import NotPositiveDefiniteError
from hpcdistill.kernels import sweep
from hpcdistill.learning import assemble, krr, workspace
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.learning.loss import CrossEntropy, SquaredError
from hpcdistill.learning.prediction import Predictor
from hpcdistill.learning.workspace import HostWorkspace
from hpcdistill.mpi import partition

REG = 1e-3
SIZES = [(1, 1), (5, 7), (13, 3), (9, 50)]  # support, targets: also more ranks than rows, and more support than targets


#: A temperature at which probabilities are neither alike nor 0 and 1.
LOSSES = {"squared error": SquaredError(), "cross-entropy": CrossEntropy(np.log(7.0))}


def gradient(comm, n_s, n_t, solver="replicated", pair=None, loss=None):
    support = KernelRegression(comm, pair or kernels(), images(n_s, 0), REG, solver)
    result = support.gradient(labels(n_s, 0), targets(n_t), loss)
    support.close()
    return result


@pytest.mark.parametrize(("n_s", "n_t"), SIZES)
def test_loss_and_accuracy_are_those_of_the_definition(comm, n_s, n_t):
    loss, accuracy = dense_loss(kernels(), images(n_s, 0), labels(n_s, 0), n_t, REG)
    support = KernelRegression(comm, kernels(), images(n_s, 0), REG)
    for metrics in (support.evaluate(labels(n_s, 0), targets(n_t)), gradient(comm, n_s, n_t)):
        assert metrics.loss == pytest.approx(loss, rel=1e-11)
        assert metrics.accuracy == pytest.approx(accuracy)


@pytest.mark.parametrize(("n_s", "n_t"), SIZES)
@pytest.mark.parametrize("solver", ["replicated", "scalapack"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
def test_any_number_of_ranks_gives_the_same(comm, n_s, n_t, solver, loss):
    together, alone = gradient(comm, n_s, n_t, solver, loss=loss), gradient(MPI.COMM_SELF, n_s, n_t, loss=loss)
    assert together.loss == pytest.approx(alone.loss, rel=1e-10)
    assert together.accuracy == alone.accuracy
    assert together.log_temperature == pytest.approx(alone.log_temperature, rel=1e-9, abs=1e-12)
    for name in ("images", "labels"):
        a, b = getattr(together, name), getattr(alone, name)
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-10 * np.abs(b).max())


@pytest.mark.parametrize(("n_t", "rows"), [(50, 3), (7, 1), (4, 64)])
def test_an_evaluation_can_be_left_and_taken_up_anywhere(comm, monkeypatch, n_t, rows):
    """On another number of ranks, too: what is counted does not depend on it."""
    monkeypatch.setattr(partition, "FEWEST_ROWS", rows)
    monkeypatch.setattr(partition, "MOST_ROWS", rows)
    support, alone = (KernelRegression(c, kernels(), images(5, 0), REG) for c in (comm, MPI.COMM_SELF))
    whole = KernelRegression(comm, kernels(), images(5, 0), REG).evaluate(labels(5, 0), targets(n_t))
    tallies = list(support.tallies(labels(5, 0), targets(n_t)))
    assert [tally.done for tally in tallies] == [*range(rows * comm.Get_size(), n_t, rows * comm.Get_size()), n_t]
    for left in (None, *tallies):
        for taken_up in (support, alone):
            *_, last = [left, *taken_up.tallies(labels(5, 0), targets(n_t), left)]
            assert last.accuracy == whole.accuracy
            assert last.loss == pytest.approx(whole.loss, rel=1e-13)


@pytest.mark.parametrize(
    ("network", "rows"), [("FC2", [2048, 2048, 209]), ("conv relu flatten dense", [2048, 327, 64])]
)
def test_quick_kernels_are_evaluated_in_larger_pieces(comm, network, rows):
    backend = kernels(network).ts
    for n, wanted in zip((10, 100, 10_000), rows, strict=True):
        assert Predictor(comm, backend, backend.prepare(images(n, 0))).rows_at_a_time == wanted


def test_many_chunks_of_rows_give_the_same(comm, monkeypatch):
    whole = gradient(comm, 5, 50)
    monkeypatch.setattr(sweep.RepeatedSweep, "at_once", 3)
    parts = gradient(comm, 5, 50)
    np.testing.assert_allclose(parts.images, whole.images, rtol=0, atol=1e-12 * np.abs(whole.images).max())


@pytest.mark.parametrize(
    ("architecture", "step", "bound"),
    [("FC1", 1e-5, 1e-6), ("FC2", 1e-5, 1e-6), ("conv relu pool conv relu flatten dense", 3e-4, 1e-5)],
)
def test_gradient_against_central_differences(comm, architecture, step, bound):
    """The bound is that of the differences: neural-tangents leaves 1e-9 of noise on the diagonal of K_ss."""
    pair, n_s, n_t = kernels(architecture), 4, 6
    x_s, y_s = images(n_s, 0), labels(n_s, 0)
    result = gradient(comm, n_s, n_t, pair=pair)
    rng = np.random.default_rng(5)
    for _ in range(3):
        dx, dy = rng.standard_normal(x_s.shape), rng.standard_normal((n_s, CLASSES))
        for change_x, change_y, wanted in ((dx, 0 * dy, (result.images * dx).sum()),
                                           (0 * dx, dy, (result.labels * dy).sum())):  # fmt: skip
            ahead = dense_loss(pair, x_s + step * change_x, y_s + step * change_y, n_t, REG)[0]
            behind = dense_loss(pair, x_s - step * change_x, y_s - step * change_y, n_t, REG)[0]
            assert (ahead - behind) / (2 * step) == pytest.approx(wanted, rel=bound, abs=1e-8)


def dense_cross_entropy(pair, x_s, y_s, n_t, log_temperature):
    """The mean of −log of the probability of each target's class, straight from its definition, on one process."""
    prediction, y_t = dense_prediction(pair, x_s, y_s, n_t, REG)
    powers = np.exp(np.exp(log_temperature) * prediction)
    return -np.log((powers / powers.sum(axis=1, keepdims=True))[np.arange(n_t), y_t.argmax(axis=1)]).mean()


@pytest.mark.parametrize("temperature", [0.5, 7.0, 1e4])
def test_cross_entropy_against_its_definition_and_central_differences(comm, temperature):
    pair, n_s, n_t, step = kernels("FC1"), 4, 6, 1e-6
    x_s, y_s, at = images(n_s, 0), labels(n_s, 0), np.log(temperature)
    result = gradient(comm, n_s, n_t, pair=pair, loss=CrossEntropy(at))
    if temperature == 1e4:  # beyond the range of exponentials
        assert np.isfinite([result.loss, result.log_temperature]).all()
        assert np.isfinite(result.images).all()
        return
    assert result.loss == pytest.approx(dense_cross_entropy(pair, x_s, y_s, n_t, at), rel=1e-11)
    rng = np.random.default_rng(5)
    for _ in range(3):
        dx, dy, dt = rng.standard_normal(x_s.shape), rng.standard_normal(y_s.shape), 1.0
        for scales, wanted in (((step, 0, 0), (result.images * dx).sum()), ((0, step, 0), (result.labels * dy).sum()),
                               ((0, 0, step), result.log_temperature)):  # fmt: skip
            a, b, c = scales
            ahead = dense_cross_entropy(pair, x_s + a * dx, y_s + b * dy, n_t, at + c * dt)
            behind = dense_cross_entropy(pair, x_s - a * dx, y_s - b * dy, n_t, at - c * dt)
            assert (ahead - behind) / (2 * step) == pytest.approx(wanted, rel=1e-5, abs=1e-8)


def test_mixed_precision_is_near_float64(comm):
    exact, mixed = gradient(comm, 9, 50), gradient(comm, 9, 50, pair=kernels(dtype_ts="float32"))
    assert mixed.loss == pytest.approx(exact.loss, rel=1e-4)
    np.testing.assert_allclose(mixed.images, exact.images, rtol=0, atol=1e-3 * np.abs(exact.images).max())
    assert mixed.images.dtype == np.float64


def test_support_kernel_does_not_depend_on_ranks_at_all(comm):
    backend = kernels().ss
    handle = backend.prepare(images(23, 0))
    together, alone = (assemble.support_kernel(c, backend, handle, HostWorkspace()) for c in (comm, MPI.COMM_SELF))
    np.testing.assert_array_equal(together, alone)
    np.testing.assert_array_equal(together, together.T)


def test_duplicate_images_without_ridge_name_the_failing_minor_on_every_rank(comm):
    x_s = images(6, 0)
    x_s[4] = 0 * x_s[1]
    pair = kernels()
    support = KernelRegression(comm, pair, x_s, 1e-3)  # a ridge makes it definite
    support.close()
    for solver in ("replicated", "scalapack"):
        with pytest.raises(NotPositiveDefiniteError, match=r"minor of order \d+ is not positive.*solve.reg") as info:
            KernelRegression(comm, pair, x_s, -2.0, solver)
        assert comm.allgather(info.value.minor) == [1] * comm.Get_size()


def test_communication_does_not_grow_with_targets(comm, monkeypatch):
    def traffic(n_t):
        sizes = []
        for module in (krr, workspace):
            original = module.sum_array
            monkeypatch.setattr(module, "sum_array", lambda c, a, f=original: (sizes.append(a.size), f(c, a))[1])
        gradient(comm, 5, n_t)
        monkeypatch.undo()
        return sizes

    few, many = traffic(6), traffic(600)
    assert few == many == [25, 5 * CLASSES + 3, images(5, 0).size]
