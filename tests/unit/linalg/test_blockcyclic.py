import doctest

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hpcdistill.linalg import blockcyclic
from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid

layouts = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 9)] * 2, *[st.integers(1, 4)] * 2)


def owners(n_rows, n_cols, mb, nb, p_rows, p_cols):
    """The rank that holds each element, one element at a time."""
    owner = np.empty((n_rows, n_cols), dtype=int)
    for i in range(n_rows):
        for j in range(n_cols):
            owner[i, j] = (i // mb % p_rows) * p_cols + j // nb % p_cols
    return owner


def marked(n_rows, n_cols):
    return np.arange(n_rows * n_cols).reshape(n_rows, n_cols)


@given(layouts)
@settings(max_examples=150, deadline=None)
def test_index_arrays_agree_with_the_owner_map(common):
    owner, full = owners(*common), marked(*common[:2])
    for rank in range(common[4] * common[5] + 1):
        layout = BlockCyclic.of_rank(*common, rank)
        part = full[np.ix_(*layout.local_to_global())]
        assert part.shape == layout.local_shape
        np.testing.assert_array_equal(np.sort(part, axis=None), full[owner == rank])
        assert all(np.all(np.diff(axis) > 0) for axis in layout.local_to_global())


@given(layouts)
@settings(max_examples=150, deadline=None)
def test_tiles_put_every_element_where_the_index_arrays_say(common):
    full = marked(*common[:2])
    for rank in range(common[4] * common[5] + 1):
        layout = BlockCyclic.of_rank(*common, rank)
        local = np.full(layout.local_shape, -1)
        for rows, cols, where in layout.tiles():
            assert len(rows) <= layout.mb
            assert len(cols) <= layout.nb
            assert np.all(local[where] == -1)
            local[where] = full[rows.start : rows.stop, cols.start : cols.stop]
        np.testing.assert_array_equal(local, full[np.ix_(*layout.local_to_global())])


@given(layouts)
@settings(deadline=None)
def test_tiles_that_miss_the_lower_triangle_hold_none_of_it(common):
    for rank in range(common[4] * common[5]):
        for tile in BlockCyclic.of_rank(*common, rank).tiles():
            assert tile.meets_lower == any(i >= j for i in tile.rows for j in tile.cols)


def test_a_layout_by_hand():
    layout = BlockCyclic.of_rank(5, 7, 2, 3, 2, 2, rank=1)
    assert (layout.my_row, layout.my_col) == (0, 1)
    assert layout.local_shape == (3, 3)
    assert [axis.tolist() for axis in layout.local_to_global()] == [[0, 1, 4], [3, 4, 5]]
    assert [(t.rows, t.cols) for t in layout.tiles()] == [(range(2), range(3, 6)), (range(4, 5), range(3, 6))]


def test_a_rank_beyond_the_grid_holds_nothing():
    layout = BlockCyclic.of_rank(5, 7, 2, 3, 2, 2, rank=4)
    assert layout.local_shape == (0, 0)
    assert list(layout.tiles()) == []
    assert layout.zeros().shape == (0, 0)


def test_local_arrays_are_in_fortran_order():
    assert BlockCyclic.of_rank(5, 7, 2, 3, 1, 1, 0).zeros().flags.f_contiguous


@pytest.mark.parametrize(
    "wrong",
    [(-1, 1, 1, 1, 1, 1, 0, 0), (1, 1, 0, 1, 1, 1, 0, 0), (1, 1, 1, 1, 1, 0, 0, 0), (1, 1, 1, 1, 2, 2, 2, 0)],
)
def test_impossible_layouts_are_refused(wrong):
    with pytest.raises(ValueError, match="grid"):
        BlockCyclic(*wrong)


@given(st.integers(1, 2000))
def test_grids_use_every_rank_and_no_squarer_one_exists(size):
    p_rows, p_cols = near_square_grid(size)
    assert p_rows * p_cols == size
    assert p_rows == max(rows for rows in range(1, size + 1) if size % rows == 0 and rows * rows <= size)


def test_a_grid_of_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one"):
        near_square_grid(0)


def test_docstrings():
    assert doctest.testmod(blockcyclic).failed == 0
