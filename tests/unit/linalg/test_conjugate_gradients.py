"""Conjugate gradients on dense systems that NumPy solves."""

import numpy as np
import pytest

from hpcdistill.errors import NotFiniteError, NumericalError
from hpcdistill.linalg.conjugate_gradients import Progress, conjugate_gradients

N = 60
SHIFTS = np.array([1e-3, 1e-3, 0.5, 10.0])


@pytest.fixture
def matrix():
    """Positive definite, with eigenvalues over six orders."""
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(N, N)))
    return basis * np.logspace(-3, 3, N) @ basis.T


@pytest.fixture
def rhs():
    return np.random.default_rng(1).normal(size=(N, len(SHIFTS)))


def no_preconditioner(residual, shifts):
    return residual.copy()


def exact(matrix, rhs, shifts=SHIFTS):
    return np.stack([np.linalg.solve(matrix + s * np.eye(N), b) for s, b in zip(shifts, rhs.T, strict=True)], axis=1)


def run(matrix, rhs, tolerance=1e-10, most=2000, before=None, precondition=no_preconditioner, shifts=SHIFTS):
    return list(conjugate_gradients(lambda v: matrix @ v, precondition, rhs, shifts, tolerance, most, before))


def test_each_column_is_solved_with_its_shift(matrix, rhs):
    *_, last = run(matrix, rhs)
    residual = rhs - matrix @ last.x - last.x * SHIFTS
    assert (np.linalg.norm(residual, axis=0) <= 1.01e-10 * np.linalg.norm(rhs, axis=0)).all()
    np.testing.assert_allclose(last.x, exact(matrix, rhs), atol=1e-6 * np.abs(last.x).max())


def test_columns_that_have_converged_cost_nothing(matrix, rhs):
    widths = []

    def multiply(v):
        widths.append(v.shape[1])
        return matrix @ v

    *_, last = conjugate_gradients(multiply, no_preconditioner, rhs, SHIFTS, 1e-8, 2000)
    assert widths[0] == 4
    assert min(widths) < 4
    assert last.history.shape == (last.step + 1, 4)


def test_a_good_preconditioner_needs_few_steps(matrix, rhs):
    near = {s: np.linalg.inv(matrix + s * np.eye(N)) for s in set(SHIFTS)}

    def precondition(residual, shifts):
        return np.stack([near[s] @ r for s, r in zip(shifts, residual.T, strict=True)], axis=1)

    assert run(matrix, rhs, precondition=precondition)[-1].step <= 3 < run(matrix, rhs)[-1].step


def test_it_goes_on_bit_for_bit_from_a_stored_state(matrix, rhs):
    states = run(matrix, rhs)
    stored = Progress.from_arrays(states[7].to_arrays())
    again = run(matrix, rhs, before=stored)
    assert len(again) == len(states) - 7
    np.testing.assert_array_equal(again[-1].x, states[-1].x)
    np.testing.assert_array_equal(again[-1].history, states[-1].history)


def test_it_says_where_rounding_ends_it(matrix, rhs):
    with pytest.raises(NumericalError, match=r"rounding keeps the residual at .*, above 1e-17"):
        run(matrix, rhs, tolerance=1e-17)


def test_a_right_hand_side_of_zeros(matrix, rhs):
    rhs[:, 1] = 0
    *_, last = run(matrix, rhs)
    np.testing.assert_array_equal(last.x[:, 1], 0)


def test_it_says_that_it_does_not_converge(matrix, rhs):
    with pytest.raises(NumericalError, match=r"after 3 steps the residual is .* and not 1e-10"):
        run(matrix, rhs, most=3)


def test_it_says_that_the_matrix_is_not_positive_definite(matrix, rhs):
    with pytest.raises(NumericalError, match="not positive definite"):
        run(-matrix, rhs)


def test_not_finite(matrix, rhs):
    with pytest.raises(NotFiniteError):
        run(matrix * np.nan, rhs)
    with pytest.raises(NotFiniteError):
        run(matrix, rhs * np.inf)
