"""The partial Cholesky factor and its preconditioner, against dense algebra."""

import numpy as np
import pytest

from hpcdistill.linalg.conjugate_gradients import conjugate_gradients
from hpcdistill.linalg.partial_cholesky import PartialCholesky
from hpcdistill.mpi.partition import block_range


def smooth_kernel(n):
    x = np.random.default_rng(3).normal(size=(n, 2))
    return np.exp(-0.5 * ((x[:, None] - x) ** 2).sum(axis=2))


def factor_of(comm, matrix, rank, seed=0):
    mine = slice(*block_range(len(matrix), comm.Get_size(), comm.Get_rank()))
    return PartialCholesky(comm, matrix.diagonal(), lambda columns: matrix[mine][:, columns], rank, seed)


def whole(comm, factor):
    return np.vstack(comm.allgather(factor.rows))


@pytest.mark.parametrize(("n", "rank"), [(1, 1), (7, 3), (200, 40), (200, 150), (300, 300)])
def test_it_approximates_from_below(comm, n, rank):
    matrix = smooth_kernel(n)
    factor = factor_of(comm, matrix, rank)
    rest = matrix - whole(comm, factor) @ whole(comm, factor).T
    assert np.linalg.eigvalsh(rest).min() > -1e-8
    assert factor.left == pytest.approx(np.maximum(rest.diagonal(), 0).mean(), abs=1e-9)
    best = np.sort(np.linalg.eigvalsh(matrix))[: n - rank].sum()
    assert np.trace(rest) <= 20 * best + 1e-6  # of the best approximation of that rank


def test_a_matrix_of_low_rank_is_factored_in_its_rank(comm):
    basis = np.random.default_rng(0).normal(size=(50, 4))
    factor = factor_of(comm, basis @ basis.T, 30)
    assert whole(comm, factor).shape[1] <= 30
    np.testing.assert_allclose(whole(comm, factor) @ whole(comm, factor).T, basis @ basis.T, atol=1e-8)


@pytest.mark.parametrize("rank", [0, 5, 60])
def test_it_is_the_inverse_of_what_it_stands_for(comm, rank):
    matrix, shifts = smooth_kernel(90), np.array([1e-3, 0.1, 1e-3])
    factor, residual = factor_of(comm, matrix, rank), np.random.default_rng(1).normal(size=(90, 3))
    f = whole(comm, factor)
    expected = [
        np.linalg.solve(f @ f.T + (s + factor.left) * np.eye(90), r) for s, r in zip(shifts, residual.T, strict=True)
    ]
    np.testing.assert_allclose(factor.precondition(residual, shifts), np.stack(expected, 1), rtol=1e-8, atol=1e-8)


def test_it_saves_steps(comm):
    matrix = smooth_kernel(300) + 0.01 * np.eye(300)
    rhs, shifts = np.random.default_rng(1).normal(size=(300, 2)), np.full(2, 1e-4)

    def steps(rank):
        precondition = factor_of(comm, matrix, rank).precondition
        return list(conjugate_gradients(lambda v: matrix @ v, precondition, rhs, shifts, 1e-8, 5000))[-1].step

    assert 3 * steps(60) < steps(0)


def test_the_pivots_depend_on_the_seed_alone(comm):
    matrix = smooth_kernel(80)
    one, two, other = (factor_of(comm, matrix, 20, seed).rows for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, two)
    assert comm.allreduce(not np.array_equal(one, other))
