"""One kernel, many ridges: factors, products and mirror images on block-cyclic tiles, against NumPy."""

import numpy as np
import pytest
from test_scalapack_cholesky import GRIDS, layout_of, part_of, spd

from hpcdistill.errors import NotPositiveDefiniteError
from hpcdistill.linalg.mirror import mirror
from hpcdistill.linalg.symmetric_tiles import SymmetricTiles
from hpcdistill.linalg.symmetric_whole import SymmetricWhole

SIZES = [(1, 16), (5, 1), (37, 3), (64, 16), (130, 64), (20, 200)]


def tiles(comm, matrix, block, grid=GRIDS["near square"], dtype=np.float64):
    layout = layout_of(comm, len(matrix), block, grid)
    return SymmetricTiles(comm, layout, part_of(matrix, layout).astype(dtype, order="F"))


def whole(matrix, dtype=np.float64):
    return SymmetricWhole(np.where(np.tri(len(matrix), dtype=bool), matrix, np.nan).astype(dtype, order="F"))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("n", "block"), SIZES)
@pytest.mark.parametrize("onto", ["lower", "upper"])
def test_a_triangle_is_copied_onto_the_other(comm, grid, n, block, onto):
    matrix = np.random.default_rng(0).normal(size=(n, n))
    layout = layout_of(comm, n, block, GRIDS[grid])
    places = np.ix_(*layout.local_to_global())
    local = np.asfortranarray(matrix[places])
    mirror(comm, layout, local, onto=onto)
    kept = np.tril(matrix) if onto == "upper" else np.triu(matrix)
    np.testing.assert_array_equal(local, (kept + kept.T - np.diag(matrix.diagonal()))[places])


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(("n", "block"), SIZES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_factors_for_several_shifts_and_products_between(comm, grid, n, block, dtype):
    matrix, rhs = spd(n), np.random.default_rng(1).normal(size=(n, 3))
    tolerance = {np.float64: 1e-11, np.float32: 1e-3}[dtype]
    exact = matrix.astype(dtype).astype(np.float64)
    for made in (tiles(comm, matrix, block, GRIDS[grid], dtype), whole(matrix, dtype)):
        for shift in (0.0, 0.5, 0.01):
            with made.factor(shift) as factor:
                expected = np.linalg.solve(exact + shift * np.eye(n), rhs)
                np.testing.assert_allclose(factor.solve(rhs), expected, atol=tolerance * np.abs(expected).max())
                product = exact @ rhs
                bound = {np.float64: 1e-13, np.float32: 1e-13}[dtype] * np.abs(product).max()
                np.testing.assert_allclose(made.multiply(rhs), product, atol=bound)


def test_a_shift_that_fails_leaves_the_matrix_for_another(comm):
    matrix = spd(37) - 0.7 * np.eye(37)
    for made in (tiles(comm, matrix, 5), whole(matrix)):
        with pytest.raises(NotPositiveDefiniteError):
            made.factor(0.0)
        with made.factor(2.0) as factor:
            expected = np.linalg.solve(matrix + 2 * np.eye(37), np.ones((37, 1)))
            np.testing.assert_allclose(factor.solve(np.ones((37, 1))), expected, rtol=1e-11)


def test_the_diagonal_is_known_everywhere(comm):
    matrix = spd(23)
    for made in (tiles(comm, matrix, 4), whole(matrix)):
        np.testing.assert_array_equal(made.diagonal, matrix.diagonal())
        assert made.n == 23
