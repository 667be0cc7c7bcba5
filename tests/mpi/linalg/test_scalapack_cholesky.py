import numpy as np
import pytest
from scipy.linalg import cho_factor, cho_solve

from mpi4py import MPI

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.linalg import scalapack
from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.linalg.scalapack import ScalapackCholesky

EPSILON = np.finfo(np.float64).eps
GRIDS = {
    "near square": near_square_grid,
    "column": lambda size: (size, 1),
    "one rank, others beyond it": lambda size: (1, 1),
    "one rank left out": lambda size: (1, max(1, size - 1)),
}


def spd(n, seed=0):
    factor = np.random.default_rng(seed).normal(size=(n, n))
    return factor @ factor.T / n + 0.5 * np.eye(n)


def layout_of(comm, n, block, grid=near_square_grid):
    return BlockCyclic.of_rank(n, n, block, block, *grid(comm.Get_size()), comm.Get_rank())


def part_of(matrix, layout):
    """This rank's part, with NaN above the diagonal, where nothing may be read."""
    lower = np.where(np.tri(len(matrix), dtype=bool), matrix, np.nan)
    return np.asfortranarray(lower[np.ix_(*layout.local_to_global())])


def factored(comm, matrix, block, grid=near_square_grid):
    layout = layout_of(comm, len(matrix), block, grid)
    return ScalapackCholesky(comm, layout, part_of(matrix, layout))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("n", "block"), [(1, 16), (5, 1), (37, 3), (64, 16), (101, 7), (130, 64), (20, 200)])
@pytest.mark.parametrize("n_rhs", [1, 10])
def test_against_scipy(comm, grid, n, block, n_rhs):
    matrix, rhs = spd(n), np.random.default_rng(1).normal(size=(n, n_rhs))
    with factored(comm, matrix, block, GRIDS[grid]) as factor:
        solution = factor.solve(rhs)
    expected = cho_solve(cho_factor(matrix, lower=True), rhs)
    assert solution.shape == (n, n_rhs)
    bound = 10 * EPSILON * n * np.linalg.cond(matrix)
    assert np.linalg.norm(solution - expected) <= bound * np.linalg.norm(expected)


def test_every_rank_gets_the_same_bits_and_a_factor_serves_twice(comm):
    matrix, rhs = spd(53), np.asfortranarray(np.random.default_rng(1).normal(size=(53, 4)))
    before = rhs.copy()
    with factored(comm, matrix, 8) as factor:
        first, second = factor.solve(rhs), factor.solve(rhs)
    np.testing.assert_array_equal(rhs, before)
    np.testing.assert_array_equal(first, second)
    assert len(set(comm.allgather(first.tobytes()))) == 1


def test_the_replicated_factor_has_the_same_face(comm):
    matrix, rhs = spd(40), np.random.default_rng(1).normal(size=(40, 3))
    solutions = []
    for factor in (ReplicatedCholesky(matrix), factored(comm, matrix, 9)):
        with factor:
            solutions.append(factor.solve(rhs))
    np.testing.assert_allclose(solutions[0], solutions[1], rtol=1e-11)


@pytest.mark.parametrize("bad", [None, 2, 33])
def test_in_parts_it_is_the_same_factor_and_says_how_far_it_is(comm, bad, monkeypatch):
    matrix, rhs, heard = spd(37), np.ones((37, 2)), []
    layout = layout_of(comm, 37, 4)
    with factored(comm, matrix, 4) as factor:
        solution = factor.solve(rhs)
    monkeypatch.setattr(scalapack, "_COLUMNS_AT_ONCE", 6)  # two blocks of four
    if bad is not None:
        matrix[bad, bad] = -1.0
        with pytest.raises(NotPositiveDefiniteError, match=f"order {bad + 1}"):
            ScalapackCholesky(comm, layout, part_of(matrix, layout), lambda *done: heard.append(done))
        assert heard[-1][0] < 37**3
        return
    with ScalapackCholesky(comm, layout, part_of(matrix, layout), lambda *done: heard.append(done)) as factor:
        np.testing.assert_array_equal(factor.solve(rhs), solution)
    assert heard == [(37**3 - (37 - start) ** 3, 37**3) for start in (0, 8, 16, 24, 32, 37)]


def test_empty_right_hand_side(comm):
    with factored(comm, spd(6), 2) as factor:
        assert factor.solve(np.zeros((6, 0))).shape == (6, 0)


def test_on_sub_communicators_at_the_same_time(comm):
    half = comm.Split(comm.Get_rank() % 2, key=-comm.Get_rank())
    n = 30 + comm.Get_rank() % 2
    matrix, rhs = spd(n), np.ones((n, 2))
    with factored(half, matrix, 4) as factor:
        np.testing.assert_allclose(factor.solve(rhs), np.linalg.solve(matrix, rhs), rtol=1e-11)
    half.Free()


@pytest.mark.parametrize(("bad", "block"), [(0, 4), (17, 4), (36, 16), (5, 64)])
def test_the_failing_minor_is_the_same_on_all_ranks(comm, bad, block):
    matrix = spd(37)
    matrix[bad, bad] = -1.0
    with pytest.raises(NotPositiveDefiniteError) as caught:
        factored(comm, matrix, block, GRIDS["one rank left out"])
    assert comm.allgather(caught.value.minor) == [bad + 1] * comm.Get_size()
    with pytest.raises(NotPositiveDefiniteError, match=f"order {bad + 1}"):
        ReplicatedCholesky(matrix)


@pytest.mark.parametrize("place", [(0, 0), (36, 0), (36, 36), (20, 17)])
def test_not_finite_on_one_rank_is_raised_on_all(comm, place):
    matrix = spd(37)
    matrix[place] = np.nan
    with pytest.raises(NotFiniteError, match=r"37×37.*NaN"):
        factored(comm, matrix, 5)


def test_grids_are_freed_when_the_factorisation_fails(comm):
    for _ in range(100):
        with pytest.raises(NotPositiveDefiniteError):
            factored(comm, -np.eye(4), 2)


REFUSED = {
    "int64": (lambda part: np.zeros(part.shape, np.int64, order="F"), "float64 or float32"),
    "C order": (np.ascontiguousarray, "Fortran order"),
    "shape": (lambda part: np.zeros((part.shape[0] + 1, part.shape[1]), order="F"), "must have shape"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_wrong_part_on_one_rank_is_refused_on_all(comm, case):
    change, message = REFUSED[case]
    layout = layout_of(comm, 24, 3)
    part = part_of(spd(24), layout)
    if comm.Get_rank() == comm.Get_size() - 1:
        part = change(part)
    with pytest.raises((ValueError, RuntimeError), match=message):
        ScalapackCholesky(comm, layout, part)


def test_a_layout_that_is_not_square_in_blocks(comm):
    layout = BlockCyclic.of_rank(6, 6, 2, 3, *near_square_grid(comm.Get_size()), comm.Get_rank())
    with pytest.raises(ValueError, match="square blocks"):
        ScalapackCholesky(comm, layout, layout.zeros())


@pytest.mark.parametrize("n", [24, 25])
def test_layouts_that_differ(comm, n):
    rank = comm.Get_rank()
    layout = BlockCyclic.of_rank(n if rank else 24, 24, 4, 4, 1, comm.Get_size(), 0 if n == 24 else rank)
    if comm.Get_size() == 1:
        return
    with pytest.raises((ValueError, RuntimeError), match=r"layouts of the ranks differ|not the layout of rank"):
        ScalapackCholesky(comm, layout, layout.zeros())


def test_a_grid_of_more_ranks_than_there_are(comm):
    layout = layout_of(comm, 4, 1, lambda size: (1, size + 1))
    with pytest.raises((ValueError, RuntimeError), match="needs more than"):
        ScalapackCholesky(comm, layout, layout.zeros())


@pytest.mark.parametrize("wrong", [None, "comm", MPI.COMM_NULL, MPI.GROUP_EMPTY])
def test_a_wrong_communicator(comm, wrong):
    layout = layout_of(comm, 4, 1)
    with pytest.raises((TypeError, ValueError)):
        ScalapackCholesky(wrong, layout, layout.zeros())


def test_right_hand_sides_that_are_refused(comm):
    last = comm.Get_rank() == comm.Get_size() - 1
    with factored(comm, spd(12), 3) as factor:
        for wrong in (np.ones((11, 1)), np.ones(12), np.ones((12, 1), dtype=np.float32), None):
            with pytest.raises((ValueError, RuntimeError), match="right-hand side"):
                factor.solve(wrong if last else np.ones((12, 1)))
        if comm.Get_size() > 1:
            with pytest.raises((ValueError, RuntimeError), match="on the first rank"):
                factor.solve(np.ones((12, 2 if last else 1)))
        np.testing.assert_allclose(factor.solve(spd(12)), np.eye(12), atol=1e-12)


def test_a_closed_factor(comm):
    factor = factored(comm, spd(4), 2)
    factor.close()
    factor.close()
    with pytest.raises((ValueError, RuntimeError), match="closed"):
        factor.solve(np.ones((4, 1)))


def test_another_type_on_one_rank_is_refused_on_all(comm):
    layout = layout_of(comm, 24, 4)
    dtype = np.float32 if comm.Get_rank() == comm.Get_size() - 1 else np.float64
    part = part_of(spd(24), layout).astype(dtype, order="F")
    if comm.Get_size() == 1:
        ScalapackCholesky(comm, layout, part).close()
        return
    with pytest.raises(ValueError, match="the matrix is float32 here, and float64 on the first rank"):
        ScalapackCholesky(comm, layout, part)
