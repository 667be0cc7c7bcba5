"""Predictions of kernel ridge regression: rows of K_ts times weights, counted chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hpcdistill.gpu.device import to_host
from hpcdistill.kernels.base import KernelBackend, is_quick
from hpcdistill.learning.assemble import Targets
from hpcdistill.learning.tally import Tally, count, no_targets
from hpcdistill.learning.workspace import workspace_of
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, sum_array
from hpcdistill.mpi.partition import rows_at_a_time


class Predictor:
    """Predicts with a support.

    Args:
        comm: communicator.
        kernels: of targets with the support.
        support: its handle there.
    """

    def __init__(self, comm: MPI.Intracomm, kernels: KernelBackend, support: Any) -> None:
        self._comm, self._kernels, self._support = comm, kernels, support
        self._workspace = workspace_of(kernels)

    @property
    def rows_at_a_time(self) -> int:
        """Targets that a rank evaluates at a time."""
        return rows_at_a_time(len(self._support), is_quick=is_quick(self._kernels))

    def kernel_rows(self, x: np.ndarray) -> Any:
        """Return rows of K_ts `(len(x), n)`, float64, on the kernels' device, for preprocessed `x`. Not collective."""
        return self._kernels.block(self._support, self._kernels.prepare(x)).T.astype(np.float64)

    def tallies(
        self, weights: Sequence[np.ndarray], targets: Targets, before: Sequence[Tally]
    ) -> Iterator[list[Tally]]:
        """Yield what is counted after each chunk of targets; the last one is of all. Collective.

        Args:
            weights: `(n, classes)` float64 each: several predictions from the same kernel rows.
            before: for each of them where an earlier evaluation was left, on any number of ranks; after equally many.
        """
        counted, there = list(before), [self._workspace.asarray(one) for one in weights]
        rows = self._comm.Get_size() * self.rows_at_a_time
        while counted[0].done < targets.count:
            part = targets.part(counted[0].done, min(counted[0].done + rows, targets.count))
            local = [no_targets(len(one.confusion)) for one in counted]
            with agree(self._comm):
                for x, y in part.local_chunks(self._comm):
                    k_ts = self.kernel_rows(x)
                    local = [one + count(to_host(k_ts @ w), y) for one, w in zip(local, there, strict=True)]
            squares = sum_array(self._comm, np.array([one.squares for one in local]))
            confusions = sum_array(self._comm, np.stack([one.confusion for one in local]))
            counted = [one + Tally(part.count, float(square), confusion)
                       for one, square, confusion in zip(counted, squares, confusions, strict=True)]  # fmt: skip
            yield counted
