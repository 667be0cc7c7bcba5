"""Label Solve: the support labels that minimise the loss over all targets, in closed form.

    y_s* = argmin ‖K_ts (K_ss + λI)⁻¹ y_s − y_t‖²

Both ways of solving it reduce the tall matrix `[K_ts  y_t]` (one row per target) to a square one. A chunk of targets is
cut into pieces of some rows. Whichever rank is free computes the next; neighbours are merged along a tree (`mpi.tree`).
Pieces and tree depend on the sizes of chunk and support alone, so that the square matrix is the same, bit for bit, on
any number of ranks with as many threads each. Rows that are still fewer than the square's are only put together; then
they are reduced:

- `QR`: the triangular factor of `[K_ts  y_t]`, which holds R and Qᵀy_t; then `y_s* = (K_ss + λI) K_ts⁺ y_t`.
- `NORMAL`: the Gram matrix, which squares the condition number; then with ρ = reg/n, as the papers' notebook has it,
  `y_s* = (K_ss + ρI) (K_st K_ts + ρI)⁻¹ K_st y_t`.

Source: arXiv:2107.13034 section 2 and the notebook published with it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy.linalg
from scipy.linalg import lapack

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.gpu.device import to_host
from hpcdistill.kernels.base import is_quick
from hpcdistill.learning.assemble import Kernels, Targets, support_kernel
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, bcast_array
from hpcdistill.mpi.merging import Merging, merge_dealt
from hpcdistill.mpi.partition import chunk_ranges, piece_rows

#: Block size within LAPACK's TPQRT.
_TPQRT_BLOCK = 32


@dataclass(frozen=True)
class Reduction:
    """A way to reduce rows `[K_ts  y_t]` to a square matrix of as many columns.

    Attributes:
        name: as in the configuration.
        reduce: takes at least as many rows as columns and returns the square.
        absorb: takes a square and fewer rows than columns and returns the new square.
        merge: takes two squares and returns that of the rows of both.
        weights: takes the square matrix, the support size and the ridge, and returns `(n, classes)` minimising weights.
        squares: takes the square matrix and `[w; −I]` and returns the sum of squared residuals.
    """

    name: str
    reduce: Callable[[np.ndarray], np.ndarray]
    absorb: Callable[[np.ndarray, np.ndarray], np.ndarray]
    merge: Callable[[np.ndarray, np.ndarray], np.ndarray]
    weights: Callable[[np.ndarray, int, float], np.ndarray]
    squares: Callable[[np.ndarray, np.ndarray], float]

    def reduced(self, rows: np.ndarray) -> np.ndarray:
        """Return rows as they are, or their square where they are not fewer than it has."""
        return self.reduce(rows) if len(rows) >= rows.shape[1] else rows

    def joined(self, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        """Return what is `reduced` of both: each is a square or fewer rows, and the second no more than the first."""
        if len(first) < first.shape[1]:
            return self.reduced(np.vstack([first, second]))
        return (self.merge if len(second) == len(first) else self.absorb)(first, second)


def _qr_reduce(rows: np.ndarray) -> np.ndarray:
    (r,) = scipy.linalg.qr(rows, mode="r", overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(r[: rows.shape[1]])


def _qr_absorb(square: np.ndarray, rows: np.ndarray, triangular: int = 0) -> np.ndarray:
    """Return the triangular factor of `[square; rows]`, of which so many last rows are an upper triangle."""
    block = min(_TPQRT_BLOCK, len(square))
    r, _, _, _ = lapack.dtpqrt(triangular, block, square, rows)
    return np.ascontiguousarray(r)


def _qr_merge(square: np.ndarray, other: np.ndarray) -> np.ndarray:
    return _qr_absorb(square, other, len(other))


def _qr_weights(square: np.ndarray, n: int, ridge: float) -> np.ndarray:
    """Minimum-norm solution: singular values below float32's precision, in which K_ts may be known, count as zero."""
    del ridge
    return scipy.linalg.lstsq(square[:n, :n], square[:n, n:], cond=np.finfo(np.float32).eps)[0]


def _gram_weights(square: np.ndarray, n: int, ridge: float) -> np.ndarray:
    try:
        return ReplicatedCholesky(square[:n, :n] + ridge * np.eye(n), overwrite=True).solve(square[:n, n:])
    except NotPositiveDefiniteError as error:
        raise NotPositiveDefiniteError(error.minor, error.size, "K_st K_ts + ρI") from None


QR = Reduction(
    name="qr",
    reduce=_qr_reduce,
    absorb=_qr_absorb,
    merge=_qr_merge,
    weights=_qr_weights,
    squares=lambda square, v: float(np.square(square @ v).sum()),
)
NORMAL = Reduction(
    name="normal",
    reduce=lambda rows: rows.T @ rows,
    absorb=lambda square, rows: square + rows.T @ rows,
    merge=np.add,
    weights=_gram_weights,
    squares=lambda square, v: float(np.einsum("ij,ik,kj->", v, square, v, optimize=True)),
)
REDUCTIONS = {reduction.name: reduction for reduction in (QR, NORMAL)}


@dataclass(frozen=True)
class Solution:
    """Solved labels `(n, classes)` float64 and the loss over the targets that they reach."""

    labels: np.ndarray
    loss: float


def reduce_chunk(
    comm: MPI.Intracomm, regression: KernelRegression, targets: Targets, square: np.ndarray, reduction: Reduction
) -> np.ndarray:
    """Return `square` with all rows of `targets` absorbed, the same on every rank and any number of them. Collective.

    Args:
        regression: on the support whose kernel with the targets is meant.
        targets: a chunk of the target set, at least one. All ranks together keep no more than its rows at a time.
        square: `(n + classes, n + classes)` float64, zeros at first.
        reduction: `QR` or `NORMAL`.

    Raises:
        NotFiniteError: on every rank.
    """
    columns = len(square)
    length = piece_rows(regression.n, targets.count, is_quick=is_quick(regression.kernels.ts))
    ranges = list(chunk_ranges(targets.count, length))

    def part(number: int) -> np.ndarray:
        start, stop = ranges[number]
        x, y = targets.fetch(start, stop)
        rows = np.hstack([regression.target_kernel(x), y])
        if not np.isfinite(rows).all():
            raise NotFiniteError("K_ts has entries that are not finite. Use kernel.precision=float64.")
        targets.report(stop, targets.count)
        return reduction.reduced(rows)

    def like(first: int, last: int) -> np.ndarray:
        return np.empty((min(columns, ranges[last - 1][1] - ranges[first][0]), columns))

    reduced, owner = merge_dealt(comm, Merging(len(ranges), part, reduction.joined, like))
    total = np.empty_like(square) if reduced is None else reduction.joined(square, reduced)
    return bcast_array(comm, total, root=owner)


def solve_labels(
    comm: MPI.Intracomm,
    kernels: Kernels,
    regression: KernelRegression,
    square: np.ndarray,
    n_targets: int,
    reduction: Reduction,
) -> Solution:
    """Return the labels that minimise the loss, from the reduced targets. Collective.

    Error: labels agree with ScaLAPACK's `pdgels` on the whole matrix to 1e-9 of their largest entry
    (tests/mpi/test_label_solve.py).

    Raises:
        NotPositiveDefiniteError: on every rank (method normal). Remedy: method qr.
    """
    n, n_classes = regression.n, len(square) - regression.n
    k_ss = support_kernel(comm, kernels.ss, regression.handle_ss, regression.ss_workspace)
    notebook_ridge = regression.reg / n
    with agree(comm):
        w = reduction.weights(square, n, notebook_ridge)
        ridge = regression.ridge if reduction is QR else notebook_ridge
        labels = to_host(k_ss @ regression.ss_workspace.asarray(w)) + ridge * w
        loss = 0.5 * reduction.squares(square, np.vstack([w, -np.eye(n_classes)])) / (n_targets * n_classes)
    return Solution(bcast_array(comm, np.ascontiguousarray(labels)), loss)
