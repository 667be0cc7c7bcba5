"""Copying one triangle of a symmetric matrix in block-cyclic tiles onto the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from hpcdistill.linalg.blockcyclic import BlockCyclic
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import exchange_arrays


def mirror(comm: MPI.Intracomm, layout: BlockCyclic, local: np.ndarray, *, onto: Literal["lower", "upper"]) -> None:
    """Overwrite one strict triangle of a symmetric matrix with the other. Collective.

    Block by block of the diagonal, the tiles to its right are sent to where those below it are. A rank has at most
    a row of its tiles under way.

    Args:
        layout: of an n×n matrix with mb = nb.
        local: this rank's part, `layout.local_shape`, float32 or float64.
        onto: which triangle is overwritten.
    """
    view = _seen_from_the_lower(layout, local) if onto == "lower" else _seen_from_the_upper(layout, local)
    for block in range(-(-layout.n_rows // layout.nb)):
        _mirror_block(comm, view, block)


class _View(NamedTuple):
    """A part of a matrix whose upper triangle is copied onto the lower one.

    Attributes:
        local: this rank's part.
        rows, columns: the blocks of its rows and columns, ascending.
        grid: rows and columns of processes.
        place: this process in the grid.
        rank: gives the rank of a process.
    """

    local: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    grid: tuple[int, int]
    place: tuple[int, int]
    rank: Callable[[int, int], int]


def _seen_from_the_lower(layout: BlockCyclic, local: np.ndarray) -> _View:
    rows, columns = (indices // layout.nb for indices in layout.local_to_global())
    grid, place = (layout.p_rows, layout.p_cols), (layout.my_row, layout.my_col)
    return _View(local, rows, columns, grid, place, lambda row, column: row * layout.p_cols + column)


def _seen_from_the_upper(layout: BlockCyclic, local: np.ndarray) -> _View:
    """Return the transposed matrix, on the transposed grid."""
    seen = _seen_from_the_lower(layout, local)
    return _View(
        local.T, seen.columns, seen.rows, seen.grid[::-1], seen.place[::-1], lambda row, column: seen.rank(column, row)
    )


def _mirror_block(comm: MPI.Intracomm, view: _View, block: int) -> None:
    """Copy the tiles to the right of a block of the diagonal onto those below it, and within it."""
    p_rows, p_columns = view.grid
    sender, receiver = block % p_rows, block % p_columns
    here, there = _part(view.rows, block), _part(view.columns, block)
    sent, received, places = {}, {}, {}
    if view.place[0] == sender:
        for row in range(p_rows):
            chosen = (view.columns > block) & (view.columns % p_rows == row)
            if chosen.any():
                sent[view.rank(row, receiver)] = np.ascontiguousarray(view.local[here, chosen])
    if view.place[1] == receiver:
        width = there.stop - there.start
        for column in range(p_columns):
            chosen = (view.rows > block) & (view.rows % p_columns == column)
            if chosen.any():
                rank = view.rank(sender, column)
                received[rank] = np.empty((width, int(chosen.sum())), view.local.dtype)
                places[rank] = chosen
    exchange_arrays(comm, sent, received)
    for rank, array in received.items():
        view.local[places[rank], there] = array.T
    if view.place == (sender, receiver):
        tile = view.local[here, there]
        tile[...] = np.triu(tile) + np.triu(tile, 1).T


def _part(blocks: np.ndarray, block: int) -> slice:
    """Return where a block is among this rank's rows or columns."""
    return slice(*np.searchsorted(blocks, [block, block + 1]))
