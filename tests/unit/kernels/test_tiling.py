"""Tiles cover a block once; tile shapes are few and waste little."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdistill.kernels.tangents import tile_shape
from hpcdistill.kernels.tiling import tiles
from hpcdistill.triangles import mirror_upper


@given(st.integers(0, 20), st.integers(0, 20), st.integers(1, 7), st.integers(1, 7))
def test_tiles_cover_every_entry_once(n1, n2, rows, columns):
    count = np.zeros((n1, n2), int)
    for r, c in tiles(n1, n2, rows, columns):
        assert r.stop - r.start <= rows
        assert c.stop - c.start <= columns
        count[r, c] += 1
    assert (count == 1).all()


@given(st.integers(0, 20), st.integers(1, 7), st.integers(1, 7))
def test_upper_tiles_cover_the_upper_triangle(n, rows, columns):
    count = np.zeros((n, n), int)
    for r, c in tiles(n, n, rows, columns, upper=True):
        count[r, c] += 1
    assert (np.triu(count) == np.triu(np.ones((n, n)))).all()


@pytest.mark.parametrize("n", [0, 1, 5, 256, 301, 513])
def test_mirror_reads_the_upper_triangle_only(n):
    full = np.random.default_rng(n).normal(size=(n, n))
    full += full.T
    matrix = np.where(np.tri(n, k=-1, dtype=bool), np.nan, full)
    mirror_upper(matrix)
    np.testing.assert_array_equal(matrix, full)


@given(st.integers(0, 6000), st.integers(0, 6000), st.integers(1, 300))
def test_padding_stays_within_a_third(n1, n2, pairs):
    for n, length in zip((n1, n2), tile_shape(n1, n2, pairs), strict=True):
        assert -(-n // length) * length <= n + n / 3


def test_blocks_of_all_sizes_share_few_shapes():
    shapes = {tile_shape(n1, n2, 48) for n1 in range(20, 200, 3) for n2 in range(50, 600, 7)}
    assert len(shapes) <= 8
