"""Label Solve for large supports: no matrix of the support's square on any rank.

The tall matrix K_ts is shared out by rows and factored by ScaLAPACK over all ranks; K_ss is multiplied with tile by
tile.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.errors import NotFiniteError, NumericalError
from hpcdistill.gpu.device import to_host
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.learning.assemble import computed
from hpcdistill.learning.kernel_operator import KernelOperator, kernel_diagonal
from hpcdistill.learning.prediction import Predictor
from hpcdistill.mpi.collectives import agree
from hpcdistill.mpi.partition import block_range
from hpcdistill.run.driver import Driver, Moment, Snapshot
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment

if TYPE_CHECKING:
    from hpcdistill.linalg.scalapack import TallLeastSquares, TallSolution


class LargeLabelSolveDriver(Driver):
    """Solves for the labels of natural images over all training images at once: one step.

    Labels agree with those of `label_solve.method = "qr"` to 1e-9 of the largest where K_ts is known in float64 and its
    condition number is moderate (tests/mpi/test_large_label_solve.py). Singular values are not cut off here.
    """

    def __init__(self, experiment: Experiment, evaluator: Evaluator, resumed: Checkpoint | None) -> None:
        super().__init__(experiment, evaluator, resumed)
        config = experiment.config
        self._source = draw_support(experiment.pool, config.support.images_per_class, config.seed)
        self._images, self._labels = experiment.natural_support(self._source)
        self._display = experiment.display(self._images)
        self._condition, self._is_solved = np.nan, resumed is not None
        if resumed is not None:
            self._labels, self._condition = resumed.array("support/labels"), resumed.array("label_solve/condition")[0]

    @property
    def step(self) -> int:
        """1 when the labels are solved for."""
        return int(self._is_solved)

    @property
    def saved_as(self) -> object:
        """See `Driver`: there is nothing to be saved before."""
        return self.step or None

    def snapshot(self) -> Snapshot:
        """See `Driver`."""
        arrays = {"label_solve/condition": np.array([self._condition])}
        return Snapshot(self.step, self._images, self._labels, self.history, self._source, self._display, arrays)

    def moments(self) -> Iterator[Moment]:
        """Compute K_ts, solve and measure."""
        experiment = self.experiment
        if self._is_solved:
            experiment.reporter.say("this Label Solve is finished already")
            return
        predictor = Predictor(experiment.comm, experiment.kernels.ts, experiment.kernels.ts.prepare(self._images))
        system, targets, n = self._system(predictor), len(experiment.pool), len(self._labels)
        experiment.reporter.say(f"K_ts, {targets:,} × {n:,}, is factored over the ranks: {2.0 * targets * n**2:.1e} "
                                "operations, in one piece")  # fmt: skip
        try:
            solution = system.solve()
        except NumericalError as error:
            remedy = "Support images that are alike make it so: draw others with seed, or set label_solve.method=qr."
            raise NumericalError(f"{error} {remedy}") from None
        self._condition, self._is_solved = solution.condition, True
        self._labels = self._labels_of(solution.x)
        self._measure(predictor, solution)
        yield Moment.STEP

    def _system(self, predictor: Predictor) -> TallLeastSquares:
        """Return K_ts and the targets' labels, each rank's rows in place."""
        from hpcdistill.linalg.scalapack import TallLeastSquares  # which an installation may lack

        experiment, comm = self.experiment, self.experiment.comm
        targets = experiment.train_targets(experiment.pool.indices)
        start, stop = block_range(targets.count, comm.Get_size(), comm.Get_rank())
        system, done = TallLeastSquares(comm, stop - start, *self._labels.shape), 0
        experiment.reporter.advance("Label Solve targets", 0, targets.count, unit=targets.count)
        with agree(comm):
            for x, y in targets.local_chunks(comm, predictor.rows_at_a_time):
                here = slice(done, done + len(x))
                system.a[here], system.b[here] = to_host(predictor.kernel_rows(x)), y
                done += len(x)
            if not np.isfinite(system.a).all():
                raise NotFiniteError("K_ts has entries that are not finite. Use kernel.precision=float64.")
        return system

    def _measure(self, predictor: Predictor, solution: TallSolution) -> None:
        n_targets = len(self.experiment.pool)
        loss = 0.5 * solution.squares / (n_targets * self._labels.shape[1])
        measured = self.evaluator.predictions(predictor, [solution.x], "test")
        accuracy = measured[0].accuracy if measured else None
        self.history.add(1, loss=loss, test_accuracy=accuracy, seconds=self.seconds())
        test = f"  test {accuracy:.2%}" if accuracy is not None else ""
        self.experiment.reporter.say(
            f"solved over {n_targets} targets: loss {loss:.5f}{test}  condition of K_ts at least {self._condition:.1e}"
        )

    def _labels_of(self, weights: np.ndarray) -> np.ndarray:
        """Return `(K_ss + λI) w`."""
        comm, backend = self.experiment.comm, self.experiment.kernels.ss
        ridge = self.experiment.config.solve.reg * kernel_diagonal(comm, backend, self._images).mean()
        with agree(comm):
            fetch = computed(backend, backend.prepare(self._images))
        progress = partial(self.experiment.reporter.rows, "tiles of K_ss")
        operator = KernelOperator(comm, len(weights), fetch, 0, progress)
        return operator.multiply(weights) + ridge * weights
