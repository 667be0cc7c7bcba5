"""Label Solve: the support labels that minimise the loss over all targets, in closed form.

    y_s* = argmin ‖K_ts (K_ss + λI)⁻¹ y_s − y_t‖²

Both ways of solving it reduce the tall matrix `[K_ts  y_t]` (one row per target) to a square one, a few rows at a time
and on every rank by itself; the ranks' results are merged along a tree at the end of a chunk:

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

from hpcdistill.errors import NotFiniteError, NotPositiveDefiniteError
from hpcdistill.gpu.device import to_host
from hpcdistill.learning.assemble import Kernels, Targets, support_kernel
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.learning.prediction import rows_at_a_time
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, bcast_array, gather_tree, receive_arrays, send_arrays


@dataclass(frozen=True)
class Reduction:
    """A way to reduce rows `[K_ts  y_t]` to a square matrix.

    Attributes:
        name: as in the configuration.
        absorb: takes the square matrix so far and new rows (or another square matrix) and returns the new square.
        weights: takes the square matrix, the support size and the ridge, and returns `(n, classes)` minimising weights.
        squares: takes the square matrix and `[w; −I]` and returns the sum of squared residuals.
    """

    name: str
    absorb: Callable[[np.ndarray, np.ndarray], np.ndarray]
    merge: Callable[[np.ndarray, np.ndarray], np.ndarray]
    weights: Callable[[np.ndarray, int, float], np.ndarray]
    squares: Callable[[np.ndarray, np.ndarray], float]


def _qr_absorb(square: np.ndarray, rows: np.ndarray) -> np.ndarray:
    (r,) = scipy.linalg.qr(np.vstack([square, rows]), mode="r", overwrite_a=True, check_finite=False)
    return np.ascontiguousarray(r[: len(square)])


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
    absorb=_qr_absorb,
    merge=_qr_absorb,
    weights=_qr_weights,
    squares=lambda square, v: float(np.square(square @ v).sum()),
)
NORMAL = Reduction(
    name="normal",
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
    """Return `square` with all rows of `targets` absorbed, the same on every rank. Collective.

    Args:
        regression: on the support whose kernel with the targets is meant.
        targets: a chunk of the target set; each rank evaluates its share.
        square: `(n + classes, n + classes)` float64, zeros at first.
        reduction: `QR` or `NORMAL`.
    """
    local = np.zeros_like(square)
    with agree(comm):
        for x, y in targets.local_chunks(comm, rows_at_a_time(regression.n)):
            rows = np.hstack([regression.target_kernel(x), y])
            if not np.isfinite(rows).all():
                raise NotFiniteError("K_ts has entries that are not finite. Use kernel.precision=float64.")
            local = reduction.absorb(local, rows)
    merged = gather_tree(comm, (local,), lambda a, b: (reduction.merge(a[0], b[0]),), send_arrays, receive_arrays)
    total = reduction.merge(square, merged[0]) if merged is not None else np.empty_like(square)
    return bcast_array(comm, total)


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
