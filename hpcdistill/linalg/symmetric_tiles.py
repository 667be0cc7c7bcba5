"""A symmetric matrix in block-cyclic tiles, factored with one shift of its diagonal after another."""

from __future__ import annotations

import numpy as np

from hpcdistill.linalg.blockcyclic import BlockCyclic
from hpcdistill.linalg.factor import Progress, untold
from hpcdistill.linalg.mirror import mirror
from hpcdistill.linalg.scalapack import ScalapackCholesky
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import sum_array


class SymmetricTiles:
    """A symmetric matrix K over the ranks, in one array per rank. Collective over `comm`, as is every method.

    A factor of K + shift·I takes the lower triangle and the diagonal. K itself stays in the upper triangle: it is
    multiplied from there, and copied back for the next factor.

    Args:
        comm: intracommunicator.
        layout: this rank's view of the n×n matrix, with mb = nb.
        local: this rank's part, `layout.local_shape`, float64 or float32, Fortran order; K on and below the diagonal.
            Taken over.

    Attributes:
        n: rows of K.
        diagonal: of K, `(n,)` float64, on every rank.
    """

    def __init__(self, comm: MPI.Intracomm, layout: BlockCyclic, local: np.ndarray) -> None:
        self.n, self._comm, self._layout, self._local = layout.n_rows, comm, layout, local
        self._rows, self._columns = layout.local_to_global()
        shared, *self._places = np.intersect1d(self._rows, self._columns, assume_unique=True, return_indices=True)
        self.diagonal = np.zeros(self.n)
        self.diagonal[shared] = local[tuple(self._places)]
        self._mine = shared
        sum_array(comm, self.diagonal)
        mirror(comm, layout, local, onto="upper")
        self._is_spent = False

    def factor(self, shift: float, progress: Progress = untold) -> ScalapackCholesky:
        """Return the Cholesky factor of K + shift·I, in use until the next is asked for.

        Args:
            progress: hears of it on every rank.

        Raises:
            NotFiniteError, NotPositiveDefiniteError: on every rank; another shift may be tried.
        """
        if self._is_spent:
            mirror(self._comm, self._layout, self._local, onto="lower")
        self._is_spent = True
        self._local[tuple(self._places)] = self.diagonal[self._mine] + shift
        return ScalapackCholesky(self._comm, self._layout, self._local, progress)

    def multiply(self, x: np.ndarray) -> np.ndarray:
        """Return K x, `(n, k)` float64, the same on every rank, for `x` `(n, k)` float64, the same on every rank."""
        product = np.zeros(x.shape)
        for start in range(0, len(self._columns), self._layout.nb):
            columns = self._columns[start : start + self._layout.nb]
            here = slice(start, start + len(columns))
            above, through = np.searchsorted(self._rows, [columns[0], columns[-1] + 1])
            if above:
                slab, rows = self._local[:above, here], self._rows[:above]
                product[rows] += slab @ x[columns]
                product[columns] += slab.T @ x[rows]
            if through > above:  # a tile of the diagonal
                tile = np.triu(self._local[above:through, here], 1)
                product[columns] += tile @ x[columns] + tile.T @ x[columns]
        return sum_array(self._comm, product) + self.diagonal[:, None] * x
