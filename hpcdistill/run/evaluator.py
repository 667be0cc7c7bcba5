"""Evaluating a support on many targets: chunk by chunk, so that it can be stopped, and resumed, in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np

from hpcdistill.learning.assemble import Targets
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.learning.prediction import Predictor
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
        return self._evaluate(regression, x_s, y_s, "test")

    def validation(self, regression: KernelRegression, x_s: np.ndarray, y_s: np.ndarray) -> Tally | None:
        """Return the same on the validation images, or None where none are held out. Collective."""
        return self._evaluate(regression, x_s, y_s, "validation")

    def predictions(self, predictor: Predictor, weights: Sequence[np.ndarray], split: str) -> list[Tally] | None:
        """Return how well the images of a split are predicted with each of some weights; see `test`. Collective.

        Args:
            predictor: on some images.
            weights: `(n, classes)` float64 each; at least one.
            split: "test" or "validation"; None is returned where there are no such images.
        """
        if (targets := self._targets(split)) is None:
            return None
        return self._count(partial(predictor.tallies, weights, targets), weights, targets, split)

    def _targets(self, split: str) -> Targets | None:
        """Return the images of a split, "test" or "validation"; None where there are none."""
        if split == "test":
            return self._experiment.test_targets()
        indices = self._experiment.validation
        return self._experiment.train_targets(indices, "validation images") if len(indices) else None

    def _evaluate(self, regression: KernelRegression, x_s: np.ndarray, y_s: np.ndarray, split: str) -> Tally | None:
        if (targets := self._targets(split)) is None:
            return None

        def tallies(before: Sequence[Tally]) -> Iterator[list[Tally]]:
            return ([tally] for tally in regression.tallies(y_s, targets, before[0]))

        return self._count(tallies, [y_s], targets, split, x_s)[0]

    def _count(
        self, tallies: Callable[[Sequence[Tally]], Iterator[list[Tally]]], weights: Sequence[np.ndarray],
        targets: Targets, split: str, *of: np.ndarray,
    ) -> list[Tally]:  # fmt: skip
        """Make evaluations together, from where they were left; keep on the way what they have counted."""
        comm, what = self._experiment.comm, _fingerprint((*of, *weights), split)
        counted = before = on_root(comm, lambda: self._read(what, weights))
        if before[0].done:
            self._experiment.reporter.say(
                f"evaluation goes on after {before[0].done} of {targets.count} {split} images"
            )
        targets.report(before[0].done, targets.count)
        for counted in tallies(before):
            done = counted[0].done
            targets.report(done, targets.count)
            if done < targets.count:
                if comm.Get_rank() == 0:
                    squares, confusions = ([getattr(one, name) for one in counted] for name in ("squares", "confusion"))
                    self._store.write_tally(what, done, np.array(squares), np.stack(confusions))
                self._boundary.check(comm)
        return counted

    def _read(self, what: str, weights: Sequence[np.ndarray]) -> list[Tally]:
        done, squares, confusions = self._store.read_tally(what)
        if not done:
            return [no_targets(one.shape[1]) for one in weights]
        return [Tally(done, float(square), confusion) for square, confusion in zip(squares, confusions, strict=True)]


def _fingerprint(arrays: Sequence[np.ndarray], split: str) -> str:
    """Return what tells one evaluation within a run from all others."""
    digest = hashlib.sha256(split.encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
