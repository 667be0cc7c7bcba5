"""The native layer: grids, communicators, and what it refuses. No test here needs more than one rank."""

import ctypes

import numpy as np
import pytest

from mpi4py import MPI

from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
from hpcdistill.native import _scalapack

SHAPES = [(37, 23, 3, 5), (5, 64, 16, 2), (1, 1, 4, 3), (50, 7, 7, 1)]


@pytest.fixture
def grid(comm):
    grid = _scalapack.Grid(comm, 1, 1)
    yield grid
    grid.close()


def test_places_on_the_grid_follow_the_layout(comm):
    p_rows, p_cols = near_square_grid(comm.Get_size())
    grid = _scalapack.Grid(comm, p_rows, p_cols)
    layout = BlockCyclic.of_rank(1, 1, 1, 1, p_rows, p_cols, comm.Get_rank())
    assert (grid.row, grid.col) == (layout.my_row, layout.my_col)
    grid.close()


def test_ranks_beyond_the_grid_are_outside(comm, grid):
    assert (grid.row, grid.col) == ((0, 0) if comm.Get_rank() == 0 else (-1, -1))


@pytest.mark.parametrize("n", [0, 1, 37, 1000])
@pytest.mark.parametrize("block", [1, 3, 64])
def test_numroc_is_the_extent_of_the_layout(comm, n, block):
    size, rank = comm.Get_size(), comm.Get_rank()
    assert _scalapack.numroc(n, block, rank, size) == BlockCyclic.of_rank(n, 1, block, 1, size, 1, rank).local_shape[0]


@pytest.mark.parametrize("wrong", [(-1, 1, 0, 1), (1, 0, 0, 1), (1, 1, 1, 1), (2**31, 1, 0, 1)])
def test_numroc_refuses(wrong):
    with pytest.raises(ValueError, match="numroc"):
        _scalapack.numroc(*wrong)


@pytest.mark.parametrize("shape", SHAPES)
def test_layout_against_the_redistribution_of_scalapack(comm, shape):
    """pdgemr2d, called by scalapack4py, must put each element where the layout says; mb ≠ nb."""
    scalapack4py = pytest.importorskip("scalapack4py")
    library = scalapack4py.ScaLAPACK4py(ctypes.CDLL(_scalapack.__file__))
    p_rows, p_cols = near_square_grid(comm.Get_size())
    context = library.make_blacs_context(library.get_default_system_context(), p_rows, p_cols)
    layout = BlockCyclic.of_rank(*shape, p_rows, p_cols, comm.Get_rank())
    full = np.asfortranarray(np.arange(shape[0] * shape[1], dtype=float).reshape(shape[:2]))
    local = np.zeros((max(1, layout.local_shape[0]), layout.local_shape[1]), order="F")
    library.scatter(full if comm.Get_rank() == 0 else None, library.make_blacs_desc(context, *shape), local)
    library.close_blacs_context(context)
    np.testing.assert_array_equal(local[: layout.local_shape[0]], full[np.ix_(*layout.local_to_global())])


@pytest.mark.parametrize("wrong", [None, 3, "comm", MPI.GROUP_EMPTY])
def test_a_wrong_communicator_type(wrong):
    with pytest.raises(TypeError):
        _scalapack.Grid(wrong, 1, 1)


def test_the_null_communicator():
    with pytest.raises(ValueError, match="COMM_NULL"):
        _scalapack.Grid(MPI.COMM_NULL, 1, 1)


@pytest.mark.parametrize("extra", [1, 2**31, 2**62])
@pytest.mark.parametrize("p_cols", [0, -1, 1, 2**32])
def test_a_grid_that_does_not_fit(comm, extra, p_cols):
    for p_rows in (comm.Get_size() + extra, 0):
        with pytest.raises(ValueError, match="does not fit"):
            _scalapack.Grid(comm, p_rows, p_cols)


def test_a_closed_grid(comm):
    grid = _scalapack.Grid(comm, 1, 1)
    grid.close()
    grid.close()
    with pytest.raises(ValueError, match="closed"):
        _ = grid.row


def fresh_handle(comm):
    """The number a new communicator gets: MPI hands out the lowest free one."""
    copy = comm.Dup()
    number = copy.py2f()
    copy.Free()
    return number


def test_many_grids_leave_nothing_behind(comm):
    _scalapack.Grid(comm, 1, 1).close()  # the first one also sets up BLACS itself
    before = fresh_handle(comm)
    for turn in range(200):
        grid = _scalapack.Grid(comm, *near_square_grid(comm.Get_size())[:: 1 if turn % 2 else -1])
        grid.close()
    for _ in range(20):
        grid = _scalapack.Grid(comm, 1, 1)
        del grid
    assert fresh_handle(comm) == before


def test_many_grids_at_once(comm, capfd):
    grids = [_scalapack.Grid(comm, 1, 1) for _ in range(50)]
    for grid in grids[::2] + grids[1:-1:2]:
        grid.close()
    local = np.full((1, 1) if comm.Get_rank() == 0 else (0, 0), 4.0)
    assert grids[-1].cholesky(local, (1, 1, 1, 1)) == 0
    assert np.all(local == 2)
    grids[-1].close()
    assert "BLACS" not in "".join(capfd.readouterr())  # it warns of a handle that is freed twice


def read_only(shape):
    array = np.zeros(shape, order="F")
    array.flags.writeable = False
    return array


REFUSED = {
    "complex": (lambda s: np.zeros(s, dtype=np.complex128, order="F"), "float64 or float32"),
    "big-endian": (lambda s: np.zeros(s, dtype=">f8", order="F"), "float64"),
    "list": (lambda s: [[0.0] * s[1]] * s[0], "float64"),
    "read-only": (read_only, "writable"),
    "C order": (lambda s: np.zeros(s), "Fortran order"),
    "rows apart": (lambda s: np.zeros((2 * s[0], s[1]), order="F")[::2], "Fortran order"),
    "too few rows": (lambda s: np.zeros((s[0] - 1, s[1]), order="F"), "must have shape"),
    "too many columns": (lambda s: np.zeros((s[0], s[1] + 1), order="F"), "must have shape"),
    "one axis": (lambda s: np.zeros(s[0]), "must have shape"),
    "columns overlap": (lambda s: np.lib.stride_tricks.as_strided(np.zeros(s[0] + s[1]), s, (8, 8)), "Fortran order"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_arrays_that_are_refused(comm, case):
    make, message = REFUSED[case]
    alone = comm.Split(comm.Get_rank())
    grid = _scalapack.Grid(alone, 1, 1)
    with pytest.raises(ValueError, match=message):
        grid.check(make((6, 4)), (6, 4, 3, 2))
    grid.close()
    alone.Free()


@pytest.mark.parametrize("shape", [(-1, 4, 1, 1), (4, 4, 0, 1), (2**31, 1, 1, 1), (4, 4, 1, 2**40)])
def test_descriptors_that_are_refused(grid, shape):
    with pytest.raises(ValueError, match="below"):
        grid.check(np.zeros((0, 0), order="F"), shape)


def test_least_squares_refuses_more_elements_than_32_bits_count(comm):
    alone = comm.Split(comm.Get_rank())
    grid = _scalapack.Grid(alone, 1, 1)
    n, rhs = 46341, np.zeros((46341, 1), order="F")  # n² just above 2³¹; the memory is never touched
    large = np.lib.stride_tricks.as_strided(np.zeros(1), (n, n), (8, 8 * n))
    with pytest.raises(ValueError, match="more ranks"):
        grid.least_squares(large, (n, n, 64, 64), rhs, (n, 1, 64, 1))
    grid.close()
    alone.Free()


def test_columns_may_be_further_apart_than_the_rows_need(comm):
    alone = comm.Split(comm.Get_rank())
    grid = _scalapack.Grid(alone, 1, 1)
    room = np.zeros((5, 2), order="F")
    room[:2] = [[4, 0], [2, 5]]
    assert grid.cholesky(room[:2], (2, 2, 1, 1)) == 0
    np.testing.assert_allclose(np.tril(room[:2]), [[2, 0], [1, 2]])
    assert np.all(room[2:] == 0)
    grid.close()
    alone.Free()


def test_shapes_the_routines_refuse(grid, comm):
    part = np.zeros((2, 2) if comm.Get_rank() == 0 else (0, 0), order="F")
    with pytest.raises(ValueError, match="square"):
        grid.cholesky(part, (2, 2, 1, 2))
    for start, stop in [(-1, 2), (1, 0), (2, 1)]:
        with pytest.raises(ValueError, match="block column"):
            grid.cholesky(part, (2, 2, 1, 1), start, stop)
    with pytest.raises(ValueError, match="block column"):
        grid.cholesky(part, (2, 2, 2, 2), 1, 2)
    with pytest.raises(ValueError, match="row block"):
        grid.cholesky_solve(part, (2, 2, 1, 1), part, (2, 2, 2, 1))
    wide = np.zeros((2, 3) if comm.Get_rank() == 0 else (0, 0), order="F")
    with pytest.raises(ValueError, match="as many rows"):
        grid.least_squares(wide, (2, 3, 1, 1), part, (2, 2, 1, 1))
