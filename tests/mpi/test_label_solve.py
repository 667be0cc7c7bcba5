"""Label Solve against ScaLAPACK's least squares, the notebook's formula in NumPy, and itself in chunks."""

import numpy as np
import pytest
from problems import images, kernels, targets

from mpi4py import MPI

from hpcdistill.learning.assemble import Targets
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.linalg.scalapack import scalapack_least_squares
from hpcdistill.methods.label_solve.reduction import NORMAL, QR, reduce_chunk, solve_labels
from hpcdistill.mpi import partition
from hpcdistill.mpi.partition import block_range, chunk_ranges, piece_rows

N_S, N_T, REG = 7, 61, 1e-6


def solve(comm, reduction, chunk=N_T, reg=REG, n_s=N_S):
    pair, all_targets = kernels(), targets(N_T)
    support = KernelRegression(comm, pair, images(n_s, 0), reg)
    square = np.zeros((n_s + 3, n_s + 3))
    for a, b in chunk_ranges(N_T, chunk):
        part = Targets(lambda i, j, a=a: all_targets.fetch(a + i, a + j), b - a)
        square = reduce_chunk(comm, support, part, square, reduction)
    return support, solve_labels(comm, pair, support, square, N_T, reduction)


@pytest.fixture(params=[1, 2, 5, 64])
def rows_of_a_piece(request, monkeypatch):
    monkeypatch.setattr(partition, "FEWEST_ROWS", request.param)
    monkeypatch.setattr(partition, "QUICK_PIECE_ENTRIES", 0)
    assert piece_rows(N_S, N_T, is_quick=True) == request.param


@pytest.mark.parametrize("reduction", [QR, NORMAL], ids=lambda r: r.name)
@pytest.mark.parametrize("chunk", [N_T, 10, 2])
def test_ranks_change_no_bit(comm, reduction, chunk, rows_of_a_piece):
    _, together = solve(comm, reduction, chunk)
    _, alone = solve(MPI.COMM_SELF, reduction, chunk)
    np.testing.assert_array_equal(together.labels, alone.labels)
    assert together.loss == alone.loss


@pytest.mark.parametrize("n_s", [N_S, 80])
def test_the_triangle_is_that_of_all_rows(comm, n_s, rows_of_a_piece):
    support = KernelRegression(comm, kernels(), images(n_s, 0), REG)
    square = reduce_chunk(comm, support, targets(N_T), np.zeros((n_s + 3, n_s + 3)), QR)
    x, y = targets(N_T).fetch(0, N_T)
    matrix = np.hstack([support.target_kernel(x), y])
    np.testing.assert_array_equal(square, np.triu(square))
    np.testing.assert_allclose(square.T @ square, matrix.T @ matrix, rtol=0, atol=1e-12 * np.abs(matrix).max() ** 2)


def test_pieces_are_many_but_neither_tiny_nor_longer_than_a_step():
    assert [piece_rows(n, 10_000) for n in (10, 100, 500, 5000)] == [79, 79, 65, 64]
    assert [piece_rows(10, count) for count in (61, 10**5, 10**6)] == [64, 782, 2048]
    assert [piece_rows(n, 10_000, is_quick=True) for n in (10, 500, 5000)] == [2048, 524, 64]


@pytest.mark.parametrize("reduction", [QR, NORMAL], ids=lambda r: r.name)
@pytest.mark.parametrize("chunk", [10, 2])
def test_chunks_change_nothing(comm, reduction, chunk):
    """QR to 1e-10; the normal equations lose as many digits again as the kernel's condition number has."""
    _, together = solve(comm, reduction, chunk)
    _, alone = solve(MPI.COMM_SELF, reduction)
    tolerance = 1e-10 if reduction is QR else 1e-6
    np.testing.assert_allclose(together.labels, alone.labels, rtol=0, atol=tolerance * np.abs(alone.labels).max())
    assert together.loss == pytest.approx(alone.loss, rel=1e-9)


def test_qr_agrees_with_scalapack_least_squares(comm):
    support, solution = solve(comm, QR)
    x, y = targets(N_T).fetch(*block_range(N_T, comm.Get_size(), comm.Get_rank()))
    w = scalapack_least_squares(comm, support.target_kernel(x), y)
    handle = support.handle_ss
    k_ss = support.kernels.ss.block(handle, handle)
    wanted = k_ss @ w + support.ridge * w
    np.testing.assert_allclose(solution.labels, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())


def test_normal_is_the_notebooks_formula(comm):
    support, solution = solve(comm, NORMAL)
    x, y = targets(N_T).fetch(0, N_T)
    k_ts, handle = support.target_kernel(x), support.handle_ss
    ridge = REG / N_S * np.eye(N_S)
    wanted = (support.kernels.ss.block(handle, handle) + ridge) @ np.linalg.solve(k_ts.T @ k_ts + ridge, k_ts.T @ y)
    np.testing.assert_allclose(solution.labels, wanted, rtol=0, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize("reduction", [QR, NORMAL], ids=lambda r: r.name)
def test_the_loss_is_that_of_the_predictions_and_no_other_labels_do_better(comm, reduction):
    support, solution = solve(comm, reduction)
    reached = support.evaluate(solution.labels, targets(N_T)).loss
    assert solution.loss == pytest.approx(reached, rel=1e-4)  # the notebook's two ridges differ
    rng = np.random.default_rng(0)
    for _ in range(5):
        other = solution.labels + 1e-2 * rng.standard_normal(solution.labels.shape)
        assert support.evaluate(other, targets(N_T)).loss > reached


def test_predictions_do_not_depend_on_the_ridge(comm):
    x = images(11, 9)
    predictions = []
    for reg in (1e-8, 1e-2):
        support, solution = solve(comm, QR, reg=reg)
        predictions.append(support.target_kernel(x) @ support.solve(solution.labels))
    np.testing.assert_allclose(*predictions, atol=1e-8 * np.abs(predictions[0]).max())


def test_a_support_larger_than_the_targets_still_has_finite_labels(comm):
    _, solution = solve(comm, QR, n_s=80)
    assert np.isfinite(solution.labels).all()
    assert solution.loss < 1e-12
