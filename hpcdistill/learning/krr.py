"""Distributed kernel ridge regression: solve, predict, loss, and the closed-form gradient.

With `A = K_ss + λI`, `λ = reg · tr(K_ss)/n` and `α = A⁻¹ y_s`, the prediction for targets is `f = K_ts α`. With a loss
of `f` (`loss`; the papers' is `½ · mean((f − y_t)²)` over all entries), `R` its derivative, and `B = A⁻¹ K_tsᵀ R`:

    dL/dy_s = B        dL/dK_ts = R αᵀ        dL/dK_ss = G + (reg/n) · tr(G) · I,   G = −B αᵀ

so that differentiation is needed inside kernel tiles only. Per gradient the ranks exchange the tiles of `K_ss`, the
`n × classes` matrix `K_tsᵀ R` and one gradient: nothing that grows with the number of targets. Rows of `K_ts` are used
as soon as they are there, so that memory does not grow either. With kernels of a GPU all of it is done there
(`workspace`), while the host gets the next targets.

Source: arXiv:2011.00050, equation 7 (the loss); the adjoint is checked against finite differences in
tests/mpi/test_krr.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcdistill.gpu.device import to_host
from hpcdistill.kernels.sweep import Sweep
from hpcdistill.learning.assemble import (
    Kernels,
    Targets,
    computed,
    my_tiles,
    support_kernel,
    support_kernel_blockcyclic,
)
from hpcdistill.learning.loss import Loss, SquaredError
from hpcdistill.learning.prediction import Predictor
from hpcdistill.learning.tally import Tally, no_targets
from hpcdistill.learning.workspace import HostWorkspace, workspace_of
from hpcdistill.linalg.blockcyclic import DEFAULT_BLOCK, BlockCyclic, near_square_grid
from hpcdistill.linalg.factor import Factor
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, agree_any, sum_array


@dataclass(frozen=True)
class Gradient:
    """Loss, accuracy and gradient of one set of targets.

    Attributes:
        images: `(n, h, w, c)` float64.
        labels: `(n, classes)` float64.
        log_temperature: of the loss, 0 where it has no temperature.
    """

    loss: float
    accuracy: float
    images: np.ndarray
    labels: np.ndarray
    log_temperature: float = 0.0


class KernelRegression:
    """Kernel ridge regression on a support set: its factored kernel. Building one is collective; so is `close`.

    Args:
        comm: communicator.
        kernels: kernel evaluators.
        x_s: support images `(n, h, w, c)`, preprocessed, the same on every rank.
        reg: ridge relative to the mean diagonal of `K_ss`.
        solver: "auto", "replicated" or "scalapack".

    Raises:
        NotPositiveDefiniteError, NotFiniteError: on every rank. Remedy: a larger `reg`, float64.
    """

    def __init__(
        self, comm: MPI.Intracomm, kernels: Kernels, x_s: np.ndarray, reg: float, solver: str = "auto"
    ) -> None:
        self.comm, self.kernels, self.reg, self.n = comm, kernels, reg, len(x_s)
        self.workspace = workspace_of(kernels.ts)
        self._image_shape = x_s.shape
        with agree(comm):
            self.handle_ss = kernels.ss.prepare(x_s)
            self.handle_ts = self.handle_ss if kernels.ts is kernels.ss else kernels.ts.prepare(x_s)
        self._predictor = Predictor(comm, kernels.ts, self.handle_ts)
        too_large = solver == "auto" and agree_any(comm, self.n > self.workspace.most_factored)
        self.ss_workspace = HostWorkspace() if too_large else self.workspace
        if solver == "scalapack" or (too_large and comm.Get_size() > 1):
            self.factor = self._factor_blockcyclic()
        else:
            self.factor = self._factor_replicated()

    def _factor_replicated(self) -> Factor:
        workspace = self.ss_workspace
        k_ss = support_kernel(self.comm, self.kernels.ss, self.handle_ss, workspace)
        with agree(self.comm):
            self.ridge = self.reg * float(workspace.xp.trace(k_ss)) / self.n
            diagonal = k_ss.reshape(-1)[:: self.n + 1]
            diagonal += self.ridge
            return workspace.factor(k_ss)

    def _factor_blockcyclic(self) -> Factor:
        grid = near_square_grid(self.comm.Get_size())
        layout = BlockCyclic.of_rank(self.n, self.n, DEFAULT_BLOCK, DEFAULT_BLOCK, *grid, self.comm.Get_rank())
        with agree(self.comm):
            local = support_kernel_blockcyclic(computed(self.kernels.ss, self.handle_ss), layout)
        rows, columns = layout.local_to_global()
        diagonal = np.nonzero(rows[:, None] == columns)
        trace = np.array([local[diagonal].sum()])
        self.ridge = self.reg * float(sum_array(self.comm, trace)[0]) / self.n
        local[diagonal] += self.ridge
        from hpcdistill.linalg.scalapack import ScalapackCholesky  # which an installation may lack

        return ScalapackCholesky(self.comm, layout, local)

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return `(K_ss + λI)⁻¹ rhs`. Collective where `K_ss` is distributed."""
        return self.factor.solve(rhs)

    def close(self) -> None:
        """Free the factor. Collective."""
        self.factor.close()

    def target_kernel(self, x: np.ndarray) -> np.ndarray:
        """Return rows `K_ts` `(len(x), n)`, float64, for preprocessed images `x`. Not collective."""
        return to_host(self._predictor.kernel_rows(x))

    def evaluate(self, y_s: np.ndarray, targets: Targets) -> Tally:
        """Return how well `targets` are predicted. Collective."""
        tally = no_targets(y_s.shape[1])
        targets.report(0, targets.count)
        for tally in self.tallies(y_s, targets):
            targets.report(tally.done, targets.count)
        return tally

    def tallies(self, y_s: np.ndarray, targets: Targets, tally: Tally | None = None) -> Iterator[Tally]:
        """Evaluate chunk by chunk and yield what is counted after each; the last one is of all targets. Collective.

        Args:
            tally: where an earlier evaluation was left, on any number of ranks.
        """
        before = [tally or no_targets(y_s.shape[1])]
        for (counted,) in self._predictor.tallies([self.solve(y_s)], targets, before):
            yield counted

    def gradient(self, y_s: np.ndarray, targets: Targets, loss: Loss | None = None) -> Gradient:
        """Return loss, accuracy and the gradient with respect to support images and labels. Collective.

        Args:
            loss: default: the squared error.

        Error: the gradient agrees between numbers of ranks to 1e-10 of its largest entry, times the condition number
        over 1e4 (tests/mpi/test_krr.py).
        """
        work, alpha, loss = self.workspace, self.workspace.asarray(self.solve(y_s)), loss or SquaredError()
        scale = 1.0 / loss.denominator(targets.count, y_s.shape[1])
        with agree(self.comm):
            sweep = self.kernels.ts.sweep(self.handle_ts)
            sums = work.xp.zeros(y_s.size + 3, np.float64)
            for x, y in targets.local_chunks(self.comm, sweep.at_once):
                self._add_target_part(x, y, alpha, loss, scale, sweep, sums)
            gradient_x = sweep.finish().astype(np.float64)
            packed = to_host(sums)
        sum_array(self.comm, packed)
        gradient_y = self.solve(packed[3:].reshape(y_s.shape))
        with agree(self.comm):
            self._add_support_part(alpha, work.asarray(gradient_y), gradient_x)
            work.finish()
        value, hits, slope = (float(number) for number in packed[:3])
        images = to_host(work.sum(self.comm, gradient_x))
        return Gradient(scale * value, hits / targets.count, images, gradient_y, scale * slope)

    def _add_target_part(
        self, x: np.ndarray, y: np.ndarray, alpha: Any, loss: Loss, scale: float, sweep: Sweep, sums: Any
    ) -> None:
        """Add this chunk's part of dL/dx_s through K_ts to `sweep`, and to `sums` its loss, hits, slope, K_tsᵀ R."""
        handle_t, labels = self.kernels.ts.prepare(x), self.workspace.asarray(y)
        k_ts = sweep.block(handle_t).T.astype(np.float64)
        prediction = k_ts @ alpha
        value, residual, slope = loss.terms(prediction, labels, self.workspace.xp)
        residual *= scale
        sweep.add(alpha @ residual.T)
        sums[0] += value
        sums[1] += (prediction.argmax(axis=1) == labels.argmax(axis=1)).sum()
        sums[2] += slope
        sums[3:] += (k_ts.T @ residual).reshape(-1)

    def _add_support_part(self, alpha: Any, b: Any, gradient_x: Any) -> None:
        """Add the part of dL/dx_s through this rank's tiles of K_ss.

        K_ss depends on each image twice; by symmetry that is twice the first argument's vjp of the symmetric cotangent.
        """
        ridge_part = -self.reg / self.n * float((b * alpha).sum())
        for rows, columns in my_tiles(self.comm, self.n, lower=False):
            i, j = slice(*rows), slice(*columns)
            cotangent = -(b[i] @ alpha[j].T + alpha[i] @ b[j].T)
            if rows == columns:
                cotangent += 2 * ridge_part * self.workspace.xp.eye(rows[1] - rows[0])
            gradient_x[i] += self.kernels.ss.block_vjp(self.handle_ss[i], self.handle_ss[j], cotangent)
