"""Evaluating a support on many targets: chunk by chunk, so that it can be stopped, and resumed, in between."""

from __future__ import annotations

import hashlib

import numpy as np

from hpcdistill.learning.assemble import Targets
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.learning.tally import Tally, no_targets
from hpcdistill.mpi.collectives import on_root
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import Store


class Evaluator:
    """Evaluates the supports of a run; what an earlier attempt at the run has counted is not evaluated again."""

    def __init__(self, experiment: Experiment, store: Store, boundary: Boundary) -> None:
        self._experiment, self._store, self._boundary = experiment, store, boundary

    def test(self, regression: KernelRegression, x_s: np.ndarray, y_s: np.ndarray) -> Tally | None:
        """Return how well the test images are predicted, or None where there are none. Collective.

        Args:
            regression: on the images `x_s`.

        Raises:
            StopRequested: on every rank; what is counted so far is saved.
        """
        targets = self._experiment.test_targets()
        return None if targets is None else self._evaluate(regression, x_s, y_s, targets, "test")

    def validation(self, regression: KernelRegression, x_s: np.ndarray, y_s: np.ndarray) -> Tally | None:
        """Return the same on the validation images, or None where none are held out. Collective."""
        indices = self._experiment.validation
        if len(indices) == 0:
            return None
        targets = self._experiment.train_targets(indices, "validation images")
        return self._evaluate(regression, x_s, y_s, targets, "validation")

    def _evaluate(
        self, regression: KernelRegression, x_s: np.ndarray, y_s: np.ndarray, targets: Targets, split: str
    ) -> Tally:
        comm, what = self._experiment.comm, _fingerprint(x_s, y_s, split)
        tally = before = on_root(comm, lambda: self._read(what, y_s.shape[1]))
        if before.done:
            self._experiment.reporter.say(f"evaluation goes on after {before.done} of {targets.count} {split} images")
        for tally in regression.tallies(y_s, targets, before):
            targets.report(tally.done, targets.count)
            if tally.done < targets.count:
                if comm.Get_rank() == 0:
                    self._store.write_tally(what, tally.done, tally.squares, tally.confusion)
                self._boundary.check(comm)
        return tally

    def _read(self, what: str, n_classes: int) -> Tally:
        done, squares, confusion = self._store.read_tally(what)
        return Tally(done, squares, confusion) if done else no_targets(n_classes)


def _fingerprint(x_s: np.ndarray, y_s: np.ndarray, split: str) -> str:
    """Return what tells one evaluation within a run from all others."""
    digest = hashlib.sha256(split.encode())
    for array in (x_s, y_s):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
