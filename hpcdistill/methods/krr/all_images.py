"""Kernel ridge regression on all training images, at several ridges from one kernel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.learning.prediction import Predictor
from hpcdistill.learning.tally import Tally
from hpcdistill.methods.krr import METHOD, KrrConfig
from hpcdistill.methods.krr.solutions import Solutions
from hpcdistill.methods.krr.solve import solve_by_cholesky, solve_by_iteration
from hpcdistill.mpi.collectives import bcast_object
from hpcdistill.run.driver import Driver, Moment, Snapshot
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment

#: Seconds between checkpoints of a solution that is being iterated.
_SAVE_SECONDS = 120.0


class AllImagesDriver(Driver):
    """Solves for the weights of all training images at each ridge, then measures all of them together.

    There is one step, numbered 0: its accuracy is that at `solve.reg`.
    """

    def __init__(self, experiment: Experiment, evaluator: Evaluator, resumed: Checkpoint | None) -> None:
        super().__init__(experiment, evaluator, resumed)
        config = experiment.config
        self._source = np.sort(experiment.pool.indices)
        self._images, self._labels = experiment.natural_support(self._source)
        self._display = experiment.display(self._images)
        regs = (config.solve.reg, *config.of(KrrConfig).regs)
        self._solutions = Solutions(regs, self._labels.shape)
        if resumed is not None:
            self._solutions.restore(resumed.group("krr"))
            krr = config.of(KrrConfig)
            if krr.solver != "cholesky" or krr.precision == "float32":
                self._solutions.reopen(krr.tolerance)
        self._saved_at = time.monotonic()

    @property
    def step(self) -> int:
        """Always 0."""
        return 0

    @property
    def saved_as(self) -> object:
        """See `Driver`."""
        return self._solutions.state

    def snapshot(self) -> Snapshot:
        """See `Driver`."""
        arrays = {f"krr/{name}": array for name, array in self._solutions.to_arrays().items()}
        return Snapshot(0, self._images, self._labels, self.history, self._source, self._display, arrays)

    def is_due(self) -> bool:
        """See `Driver`: each ridge that is solved, and now and then while they are iterated."""
        if self._solutions.iterated is None:
            return True
        due = bcast_object(self.experiment.comm, time.monotonic() - self._saved_at >= _SAVE_SECONDS)
        if due:
            self._saved_at = time.monotonic()
        return due

    def moments(self) -> Iterator[Moment]:
        """Solve, and measure."""
        solutions, experiment = self._solutions, self.experiment
        if solutions.is_measured:
            experiment.reporter.say("these ridges are solved and measured already")
            return
        if not solutions.all_solved:
            solve = solve_by_cholesky if experiment.config.of(KrrConfig).solver == "cholesky" else solve_by_iteration
            for _ in solve(experiment, self._images, self._labels, solutions):
                self.history.add(0, seconds=self.seconds())
                yield Moment.STEP
        self._measure()
        yield Moment.STEP
        self._say()

    def _measure(self) -> None:
        """Measure all ridges with the same kernel rows."""
        experiment, solutions = self.experiment, self._solutions
        backend = experiment.kernels.ts
        predictor = Predictor(experiment.comm, backend, backend.prepare(self._images))
        counted: dict[str, list[Tally] | None] = {
            split: self.evaluator.predictions(predictor, solutions.solved_weights(), split)
            for split in ("validation", "test")
        }
        solutions.measured(counted["validation"], counted["test"])
        first: dict[str, Any] = {name: tallies[0].accuracy for name, tallies in counted.items() if tallies}
        self.history.add(0, test_accuracy=first.get("test"), validation_accuracy=first.get("validation"),
                         seconds=self.seconds())  # fmt: skip

    def _say(self) -> None:
        """Say what the test images are predicted with, ridge by ridge."""
        say, solutions = self.experiment.reporter.say, self._solutions
        sweep = METHOD.sweep(self.snapshot().arrays)
        if sweep and len(sweep.values) > 1:
            for cells in [[sweep.setting, *sweep.figures], *(sweep.cells(i) for i in range(len(sweep.values)))]:
                say("  ".join(f"{cell:>19}" for cell in cells))
        accuracy, loss = solutions.figures["test_accuracy"][0], solutions.figures["test_loss"][0]
        say(f"{len(self._source)} natural images, ridge {solutions.regs[0]:g}: test {accuracy:.2%}  loss {loss:.5f}  "
            f"residual {solutions.figures['residual'][0]:.1e}")  # fmt: skip
