"""Cholesky on a GPU: against the residual's bound, and `ReplicatedCholesky`."""

import numpy as np
import pytest
from test_replicated_cholesky import EPSILON, spd

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.gpu.device import to_host
from hpcdistill.linalg.gpu import GpuCholesky
from hpcdistill.linalg.replicated import ReplicatedCholesky


@pytest.mark.parametrize("n", [1, 2, 37, 700])
def test_residual_and_the_factor_of_the_host(device, n):
    matrix, rhs = spd(n), np.random.default_rng(1).normal(size=(n, 3))
    there, given = device.xp.asarray(matrix), rhs.copy()
    solution = GpuCholesky(device, there).solve(given)
    np.testing.assert_array_equal(given, rhs)
    np.testing.assert_array_equal(to_host(there), matrix)
    assert isinstance(solution, np.ndarray)
    residual = np.linalg.norm(matrix @ solution - rhs)
    assert residual <= n * EPSILON * (np.linalg.norm(matrix, 2) * np.linalg.norm(solution) + np.linalg.norm(rhs))
    bound = 10 * EPSILON * n * np.linalg.cond(matrix)
    assert np.linalg.norm(solution - ReplicatedCholesky(matrix).solve(rhs)) <= bound * np.linalg.norm(solution)


def test_no_columns(device):
    assert GpuCholesky(device, device.xp.asarray(spd(4))).solve(np.zeros((4, 0))).shape == (4, 0)


@pytest.mark.parametrize("minor", [1, 2, 3, 16, 64, 99, 100])
def test_the_first_minor_that_is_not_positive_is_named(device, minor):
    matrix = spd(100)
    matrix[minor - 1, minor - 1] = -1
    with pytest.raises(NotPositiveDefiniteError, match=f"order {minor} is") as caught:
        GpuCholesky(device, device.xp.asarray(matrix))
    assert (caught.value.minor, caught.value.size) == (minor, 100)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(device, bad):
    matrix = spd(20)
    matrix[3, 17] = matrix[17, 3] = bad
    with pytest.raises(NotFiniteError, match="NaN"):
        GpuCholesky(device, device.xp.asarray(matrix))


@pytest.mark.parametrize("wrong", [np.zeros((3, 1), dtype=np.float32), np.zeros((4, 1)), np.zeros(3)])
def test_wrong_right_hand_sides_are_refused(device, wrong):
    with pytest.raises(ValueError, match="right-hand side"):
        GpuCholesky(device, device.xp.asarray(np.eye(3))).solve(wrong)
