import numpy as np
import pytest

from mpi4py import MPI

from hpcdistill.errors import NotFiniteError, NumericalError
from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
from hpcdistill.linalg.scalapack import scalapack_least_squares
from hpcdistill.native import _scalapack

EPSILON = np.finfo(np.float64).eps


def problem(m, n, k, seed=0):
    """A tall system with a small residual, so that the error grows with κ(A) and not with its square."""
    random = np.random.default_rng(seed)
    a, x = random.normal(size=(m, n)), random.normal(size=(n, k))
    return a, a @ x + 1e-3 * random.normal(size=(m, k))


def even(comm, m):
    bounds = np.linspace(0, m, comm.Get_size() + 1).astype(int)
    return slice(*bounds[comm.Get_rank() :][:2])


def all_on_last(comm, m):
    return slice(0, m) if comm.Get_rank() == comm.Get_size() - 1 else slice(0, 0)


def growing(comm, m):
    bounds = [m * r * r // comm.Get_size() ** 2 for r in range(comm.Get_size() + 1)]
    return slice(*bounds[comm.Get_rank() :][:2])


def assert_solves(x, a, b):
    expected = np.linalg.lstsq(a, b, rcond=None)[0]
    assert x.shape == expected.shape
    assert np.linalg.norm(x - expected) <= 100 * np.linalg.cond(a) * EPSILON * np.linalg.norm(expected)


@pytest.mark.parametrize("split", [even, all_on_last, growing])
@pytest.mark.parametrize(("m", "n", "k"), [(1, 1, 1), (7, 7, 2), (37, 5, 3), (211, 70, 1), (150, 130, 67)])
def test_against_numpy(comm, split, m, n, k):
    a, b = problem(m, n, k)
    mine = split(comm, m)
    x = scalapack_least_squares(comm, a[mine], b[mine])
    assert_solves(x, a, b)
    assert len(set(comm.allgather(x.tobytes()))) == 1


def test_arguments_are_left_as_they_are(comm):
    a, b = problem(20, 4, 2)
    mine = even(comm, 20)
    a_mine, b_mine = np.asfortranarray(a[mine]), np.asfortranarray(b[mine])
    scalapack_least_squares(comm, a_mine, b_mine)
    np.testing.assert_array_equal(a_mine, a[mine])
    np.testing.assert_array_equal(b_mine, b[mine])


@pytest.mark.parametrize(("mb", "nb"), [(3, 5), (8, 2), (40, 64)])
def test_the_native_routine_in_blocks_that_are_not_square(comm, mb, nb):
    """mb ≠ nb on a two-dimensional grid: swapped block sizes cannot pass."""
    m, n, k = 61, 23, 4
    a, b = problem(m, n, k)
    place = (*near_square_grid(comm.Get_size()), comm.Get_rank())
    layouts = BlockCyclic.of_rank(m, n, mb, nb, *place), BlockCyclic.of_rank(m, k, mb, 3, *place)
    parts = [np.asfortranarray(x[np.ix_(*y.local_to_global())]) for x, y in zip((a, b), layouts, strict=True)]
    grid = _scalapack.Grid(comm, *place[:2])
    assert grid.least_squares(parts[0], layouts[0].descriptor, parts[1], layouts[1].descriptor) == 0
    grid.close()
    full = np.zeros((m, k))
    full[np.ix_(*layouts[1].local_to_global())] = parts[1]
    assert_solves(comm.allreduce(full)[:n], a, b)


def test_no_unknowns_and_no_columns(comm):
    assert scalapack_least_squares(comm, np.zeros((2, 0)), np.zeros((2, 3))).shape == (0, 3)
    assert scalapack_least_squares(comm, np.ones((2, 1)), np.zeros((2, 0))).shape == (1, 0)


def test_fewer_rows_than_columns(comm):
    with pytest.raises(ValueError, match="at least as many rows"):
        scalapack_least_squares(comm, np.ones((1, comm.Get_size() + 1)), np.ones((1, 1)))


@pytest.mark.parametrize("column", [0, 3])
def test_dependent_columns(comm, column):
    a, b = problem(60, 6, 1)
    a[:, column] = a[:, 5] * 2
    mine = even(comm, 60)
    with pytest.raises(NumericalError, match="no full rank"):
        scalapack_least_squares(comm, a[mine], b[mine])


def test_a_column_of_zeros(comm):
    with pytest.raises(NumericalError, match="no full rank"):
        scalapack_least_squares(comm, np.zeros((3, 2)), np.ones((3, 1)))


def test_not_finite_on_one_rank(comm):
    a, b = problem(12, 3, 1)
    if comm.Get_rank() == 0:
        b[5] = np.inf
    with pytest.raises(NotFiniteError, match="least squares"):
        scalapack_least_squares(comm, a, b)


def test_rows_that_are_refused_on_all_ranks(comm):
    first = comm.Get_rank() == 0
    a, b = problem(9, 3, 2)
    wrong = [(a.astype(np.float32), b), (a, b[:-1]), (a[0], b), (a, None)]
    if comm.Get_size() > 1:
        wrong += [(a[:, :2], b), (a, b[:, :1])]
    for a_first, b_first in wrong:
        with pytest.raises((ValueError, RuntimeError), match=r"matrix|columns"):
            scalapack_least_squares(comm, a_first if first else a, b_first if first else b)


@pytest.mark.parametrize("wrong", [None, MPI.GROUP_EMPTY])
def test_a_wrong_communicator(wrong):
    with pytest.raises(TypeError, match="intracommunicator"):
        scalapack_least_squares(wrong, np.ones((2, 1)), np.ones((2, 1)))
