"""Label Solve: chunk after chunk of targets, then the solution."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.methods.label_solve import LabelSolveConfig
from hpcdistill.methods.label_solve.reduction import REDUCTIONS, reduce_chunk, solve_labels
from hpcdistill.run.driver import Driver, Moment, Snapshot
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment


class LabelSolveDriver(Driver):
    """Solves for the labels of natural images over all training images. A step is a chunk of these."""

    def __init__(self, experiment: Experiment, evaluator: Evaluator, resumed: Checkpoint | None) -> None:
        super().__init__(experiment, evaluator, resumed)
        config = experiment.config
        self._settings = config.of(LabelSolveConfig)
        self._reduction = REDUCTIONS[self._settings.method]
        self._source = draw_support(experiment.pool, config.support.images_per_class, config.seed)
        self._images, self._labels = experiment.natural_support(self._source)
        self._display = experiment.display(self._images)
        self._square, self._chunks, self._absorbed = np.zeros((sum(self._labels.shape),) * 2), 0, 0
        if resumed is not None:
            self._chunks = int(resumed.array("random/step")[0])
            self._square = resumed.array("label_solve/square")
            self._absorbed = int(resumed.array("label_solve/absorbed")[0])
        self._solved = resumed is not None and bool(np.isfinite(self.history.rows[self._chunks]["loss"]))

    @property
    def step(self) -> int:
        """Chunks so far."""
        return self._chunks

    @property
    def saved_as(self) -> object:
        """See `Driver`: the last chunk is saved before and after the labels are solved for."""
        return (self._chunks, self._solved) if self._chunks else None

    def snapshot(self) -> Snapshot:
        """See `Driver`."""
        reduced = {"label_solve/square": self._square, "label_solve/absorbed": np.array([self._absorbed])}
        return Snapshot(
            self._chunks, self._images, self._labels, self.history, self._source, self._display, arrays=reduced
        )

    def moments(self) -> Iterator[Moment]:
        """Reduce chunk after chunk, then solve and measure."""
        experiment, indices = self.experiment, self.experiment.pool.indices
        if self._solved:
            experiment.reporter.say("this Label Solve is finished already")
            return
        regression = experiment.regression_on(self._images)
        while self._absorbed < len(indices):
            chunk = indices[self._absorbed : self._absorbed + self._settings.chunk]
            experiment.reporter.advance("Label Solve targets", self._absorbed, len(indices), unit=len(chunk))
            targets = experiment.train_targets(chunk)
            self._square = reduce_chunk(experiment.comm, regression, targets, self._square, self._reduction)
            self._chunks, self._absorbed = self._chunks + 1, self._absorbed + len(chunk)
            self.history.add(self._chunks, seconds=self.seconds())
            yield Moment.STEP
        self._solve(regression)

    def _solve(self, regression: KernelRegression) -> None:
        experiment, n_targets = self.experiment, len(self.experiment.pool)
        solution = solve_labels(
            experiment.comm, experiment.kernels, regression, self._square, n_targets, self._reduction
        )
        try:
            measured = self.evaluator.test(regression, self._images, solution.labels)
        finally:
            regression.close()
        accuracy = None if measured is None else measured.accuracy
        self.history.add(self._chunks, loss=solution.loss, test_accuracy=accuracy, seconds=self.seconds())
        self._labels, self._solved = solution.labels, True
        experiment.reporter.say(f"solved over {n_targets} targets: loss {solution.loss:.5f}"
                                + (f"  test {accuracy:.2%}" if accuracy is not None else ""))  # fmt: skip
