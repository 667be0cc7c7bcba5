"""Kernel ridge regression on natural images: draw after draw."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.methods.krr import METHOD
from hpcdistill.run.driver import Driver, Moment, Snapshot
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment


class DrawsDriver(Driver):
    """Measures the test accuracy of random natural supports."""

    def __init__(self, experiment: Experiment, evaluator: Evaluator, resumed: Checkpoint | None) -> None:
        super().__init__(experiment, evaluator, resumed)
        self._drawn: Snapshot | None = None

    @property
    def step(self) -> int:
        """The number of the last draw; the first is 0."""
        return len(self.history.rows) - 1

    @property
    def saved_as(self) -> object:
        """See `Driver`."""
        return self.step if self.history.rows else None

    def snapshot(self) -> Snapshot:
        """Return the last draw."""
        assert self._drawn is not None  # a draw that is not saved was made by this process
        return self._drawn

    def moments(self) -> Iterator[Moment]:
        """Draw and measure. What is counted of a draw when it is stopped is kept, and not counted again."""
        experiment, draws = self.experiment, METHOD.steps(self.experiment.config)
        experiment.reporter.advance("draw", len(self.history.rows), draws)
        for draw in range(len(self.history.rows), draws):
            self._draw(draw)
            yield Moment.STEP
            accuracy = self.history.rows[draw]["test_accuracy"]
            experiment.reporter.advance("draw", draw + 1, draws, f"test {accuracy:.2%}")
        accuracies = self.history.column("test_accuracy")
        draws = len(accuracies)  # more, perhaps, than are asked for now
        spread = f" ± {np.std(accuracies, ddof=1):.2%}" if draws > 1 else ""
        n_s = experiment.config.support.images_per_class * experiment.dataset.n_classes
        experiment.reporter.say(
            f"{n_s} natural images: test {np.mean(accuracies):.2%}{spread} over {draws} draw{'s' * (draws > 1)}"
        )

    def _draw(self, draw: int) -> None:
        experiment, pool, per_class = (
            self.experiment,
            self.experiment.pool,
            self.experiment.config.support.images_per_class,
        )
        source = draw_support(pool, per_class, experiment.config.seed, draw)
        x_s, y_s = experiment.natural_support(source)
        regression = experiment.regression_on(x_s)
        try:
            measured = self.evaluator.test(regression, x_s, y_s)
        finally:
            regression.close()
        assert measured is not None  # there is a test split: the method needs one
        self.history.add(draw, test_accuracy=measured.accuracy, seconds=self.seconds())
        self._drawn = Snapshot(draw, x_s, y_s, self.history, source, experiment.display(x_s))
