import numpy as np
import pytest

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.linalg import replicated
from hpcdistill.linalg.replicated import ReplicatedCholesky

EPSILON = np.finfo(np.float64).eps


def spd(n, seed=0):
    factor = np.random.default_rng(seed).normal(size=(n, n))
    return factor @ factor.T + 0.1 * np.eye(n)


def only_lower(matrix, order):
    """A copy with NaN where nothing may be read."""
    return np.array(np.where(np.tri(len(matrix), dtype=bool), matrix, np.nan), order=order)


@pytest.mark.parametrize("n", [1, 2, 37, 513, 700])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("overwrite", [False, True])
def test_residual_and_numpy(n, order, overwrite):
    matrix, rhs = spd(n), np.random.default_rng(1).normal(size=(n, 3))
    given = only_lower(matrix, order)
    before = given.copy()
    solution = ReplicatedCholesky(given, overwrite=overwrite).solve(rhs)
    if not overwrite:
        np.testing.assert_array_equal(given, before)
    residual = np.linalg.norm(matrix @ solution - rhs)
    scale = np.linalg.norm(matrix, 2) * np.linalg.norm(solution) + np.linalg.norm(rhs)
    assert residual <= n * EPSILON * scale
    bound = 10 * EPSILON * n * np.linalg.cond(matrix)
    assert np.linalg.norm(solution - np.linalg.solve(matrix, rhs)) <= bound * np.linalg.norm(solution)


@pytest.mark.parametrize("order", ["C", "F"])
def test_overwriting_takes_no_second_matrix(order):
    matrix = np.array(spd(20), order=order)
    factor = ReplicatedCholesky(matrix, overwrite=True)
    assert np.shares_memory(factor._factor, matrix)


def test_a_view_with_strides_is_factored():
    matrix = spd(9)
    big = np.zeros((18, 18))
    big[::2, ::2] = matrix
    rhs = np.eye(9)
    np.testing.assert_allclose(ReplicatedCholesky(big[::2, ::2]).solve(rhs), np.linalg.inv(matrix), rtol=1e-9)


def test_rhs_is_left_as_it_is():
    rhs = np.asfortranarray(np.random.default_rng(2).normal(size=(6, 2)))
    before = rhs.copy()
    ReplicatedCholesky(spd(6)).solve(rhs)
    np.testing.assert_array_equal(rhs, before)


def test_no_columns_and_no_rows():
    assert ReplicatedCholesky(spd(4)).solve(np.zeros((4, 0))).shape == (4, 0)
    assert ReplicatedCholesky(np.zeros((0, 0))).solve(np.zeros((0, 2))).shape == (0, 2)


# Minors of [[4, 2, 2], [2, 1, 5], [2, 5, 9]]: 4, then 4·1 − 2·2 = 0, so the second is the first that is not positive.
@pytest.mark.parametrize(
    ("matrix", "minor"),
    [
        ([[-1.0, 0, 0], [0, 1, 0], [0, 0, 1]], 1),
        ([[4.0, 2, 2], [2, 1, 5], [2, 5, 9]], 2),
        ([[1.0, 0, 0], [0, 1, 2], [0, 2, 3]], 3),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_minor_by_hand(matrix, minor, order):
    with pytest.raises(NotPositiveDefiniteError, match=f"order {minor}") as caught:
        ReplicatedCholesky(np.array(matrix, order=order))
    assert (caught.value.minor, caught.value.size) == (minor, 3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
@pytest.mark.parametrize("place", [(0, 0), (599, 3), (599, 599), (550, 520)])
def test_not_finite(bad, place):
    matrix = spd(600)
    matrix[place] = bad
    with pytest.raises(NotFiniteError, match="NaN"):
        ReplicatedCholesky(matrix)


@pytest.mark.parametrize("wrong", [np.eye(3, dtype=int), np.zeros((2, 3)), np.zeros(4), [[1.0]]])
def test_wrong_matrices_are_refused(wrong):
    with pytest.raises(ValueError, match=r"float64 or float32 matrix|square"):
        ReplicatedCholesky(wrong)


@pytest.mark.parametrize("wrong", [np.zeros((3, 1), dtype=np.float32), np.zeros((4, 1)), np.zeros(3)])
def test_wrong_right_hand_sides_are_refused(wrong):
    with ReplicatedCholesky(np.eye(3)) as factor, pytest.raises(ValueError, match="right-hand side"):
        factor.solve(wrong)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("n", [5, 7, 40])
def test_by_blocks(monkeypatch, order, overwrite, dtype, n):
    """What is larger than LAPACK takes in one call: the same factor, and the upper triangle stays as it is."""
    matrix = spd(n).astype(dtype)
    matrix[np.triu_indices(n, 1)] = 99
    whole = ReplicatedCholesky(matrix.copy(order=order))
    monkeypatch.setattr(replicated, "_MOST_BY_LAPACK", 4)
    monkeypatch.setattr(replicated, "_BLOCK", 7)
    given = matrix.copy(order=order)
    heard = []
    blocks, rhs = ReplicatedCholesky(given, overwrite, lambda *done: heard.append(done)), np.ones((n, 2))
    bound = {np.float64: 1e-13, np.float32: 1e-5}[dtype]
    np.testing.assert_allclose(blocks.solve(rhs), whole.solve(rhs), rtol=bound, atol=bound)
    assert heard == sorted(set(heard))
    assert (heard[0], heard[-1]) == ((0, n**3), (n**3, n**3))
    assert len(heard) == 1 + -(-n // 7)
    if overwrite:
        assert (given[np.triu_indices(n, 1)] == 99).all()
    else:
        np.testing.assert_array_equal(given, matrix)


@pytest.mark.parametrize("bad", [0, 6, 7, 20, 39])
def test_by_blocks_the_failing_minor_is_named(monkeypatch, bad):
    monkeypatch.setattr(replicated, "_MOST_BY_LAPACK", 4)
    monkeypatch.setattr(replicated, "_BLOCK", 7)
    matrix = spd(40)
    matrix[bad, bad] = -1.0
    with pytest.raises(NotPositiveDefiniteError, match=f"order {bad + 1}"):
        ReplicatedCholesky(matrix)
