"""A randomly pivoted partial Cholesky factor of a kernel, K ≈ F Fᵀ, and the preconditioner that it makes.

Pivots are drawn by how much of the diagonal is left, some at a time: their columns of K are all that is computed. The
rows of F are shared out over the ranks.

Source: Chen, Epperly, Tropp and Webber 2022 (arXiv:2207.06503); for kernel ridge regression Díaz, Epperly, Frangella,
Tropp and Webber 2023 (arXiv:2304.12465). The shift of the preconditioner is not λ alone, as there, but λ and the mean
of the diagonal that F leaves: kernels of networks have a long tail of eigenvalues that is far above λ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import scipy.linalg

from hpcdistill.linalg.factor import Progress, untold
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, on_root, sum_array
from hpcdistill.mpi.partition import block_range

#: Pivots drawn at a time: so many at most, and in so many draws at least, each of which sees what the others leave.
_AT_ONCE, _DRAWS = 128, 10
#: Pivots whose remaining diagonal is less than this part of the first are not used: they are combinations of others.
_DEPENDENT = 1e-10


class PartialCholesky:
    """F of a symmetric positive semidefinite matrix. Collective over `comm`, as is every method.

    Args:
        comm: communicator.
        diagonal: of the matrix, `(n,)`, the same on every rank.
        columns: takes indices, the same on every rank, and returns this rank's rows (`block_range`) of these columns.
        rank: columns of F; fewer, where nothing is left.
        seed: of the pivots.
        progress: hears how many columns there are, of how many.

    Attributes:
        rows: this rank's rows of F, `(m, rank)` float64.
        left: mean of what F leaves of the diagonal.
    """

    def __init__(
        self,
        comm: MPI.Intracomm,
        diagonal: np.ndarray,
        columns: Callable[[np.ndarray], np.ndarray],
        rank: int,
        seed: int,
        progress: Progress = untold,
    ) -> None:
        self._comm, self._n = comm, len(diagonal)
        self._range = slice(*block_range(self._n, comm.Get_size(), comm.Get_rank()))
        left, rank = diagonal.copy(), min(rank, self._n)
        generator, smallest = np.random.default_rng([seed, 0x9C]), _DEPENDENT * diagonal.max(initial=0)
        rows, count = np.zeros((self._range.stop - self._range.start, rank)), 0
        while count < rank and left.max(initial=0) > smallest:
            progress(count, rank)
            size = min(_AT_ONCE, -(-rank // _DRAWS), rank - count, int((left > smallest).sum()))
            chances = np.where(left > smallest, left, 0)
            pivots = np.sort(generator.choice(self._n, size, replace=False, p=chances / chances.sum()))
            with agree(comm):
                part = columns(pivots).astype(np.float64)
            part -= rows[:, :count] @ self._of(pivots, rows[:, :count]).T
            new = part @ self._inverse_root(self._of(pivots, part), smallest)
            rows[:, count : count + new.shape[1]] = new
            count += new.shape[1]
            mine = np.zeros(self._n)
            mine[self._range] = np.einsum("ij,ij->i", new, new)
            left = np.maximum(left - sum_array(comm, mine), 0)
            left[pivots] = 0
        progress(rank, rank)
        self.rows, self.left = np.ascontiguousarray(rows[:, :count]), float(left.mean())
        self._gram = sum_array(comm, self.rows.T @ self.rows)
        self._factors: dict[float, ReplicatedCholesky] = {}

    def _of(self, indices: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Return some rows of a matrix that is shared out by rows."""
        chosen = np.zeros((len(indices), rows.shape[1]))
        mine = (indices >= self._range.start) & (indices < self._range.stop)
        chosen[mine] = rows[indices[mine] - self._range.start]
        return sum_array(self._comm, chosen)

    def _inverse_root(self, square: np.ndarray, smallest: float) -> np.ndarray:
        """Return a matrix W with WᵀCW = I, without the part of C that is rounding; rank 0's on every rank."""

        def root() -> np.ndarray:
            values, vectors = scipy.linalg.eigh((square + square.T) / 2)
            kept = values > max(smallest, 1e-12 * values[-1])
            return vectors[:, kept] / np.sqrt(values[kept])

        return on_root(self._comm, root)

    def precondition(self, residual: np.ndarray, shifts: np.ndarray) -> np.ndarray:
        """Return `(F Fᵀ + σI)⁻¹ r` for each column r, `(n, m)`, σ its shift and what F leaves of the diagonal.

        Args:
            residual: `(n, m)`, the same on every rank.
            shifts: `(m,)`.
        """
        mine = residual[self._range]
        inner, sigmas = sum_array(self._comm, self.rows.T @ mine), shifts + self.left
        for sigma in np.unique(sigmas):
            inner[:, sigmas == sigma] = self._factor(float(sigma)).solve(inner[:, sigmas == sigma])
        result = np.zeros(residual.shape)
        result[self._range] = (mine - self.rows @ inner) / sigmas
        return sum_array(self._comm, result)

    def _factor(self, sigma: float) -> ReplicatedCholesky:
        if sigma not in self._factors:
            shifted = self._gram + sigma * np.eye(len(self._gram))
            self._factors[sigma] = ReplicatedCholesky(shifted, overwrite=True)
        return self._factors[sigma]
