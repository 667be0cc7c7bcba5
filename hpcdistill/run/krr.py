"""Kernel ridge regression on natural images: the baseline that distilled sets are compared with."""

from __future__ import annotations

import time

import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.learning.history import History
from hpcdistill.mpi.collectives import bcast_object
from hpcdistill.run.evaluation import Evaluator
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.recorder import Recorder
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import Store


def run_krr(experiment: Experiment, store: Store, resumed: Checkpoint | None, boundary: Boundary) -> None:
    """Measure the test accuracy of random natural supports, or of all training images. Collective.

    Raises:
        StopRequested: on every rank; the draws so far, and what is counted of this one, have been saved.
    """
    config, per_class = experiment.config, experiment.config.support.images_per_class
    draws = config.krr.draws if per_class else 1
    history = History.from_arrays(resumed.history()) if resumed else History()
    started = time.monotonic() - history.last_seconds
    evaluator = Evaluator(experiment, store, boundary)
    experiment.reporter.advance("draw", len(history.rows), draws)
    for draw in range(len(history.rows), draws):
        boundary.check(experiment.comm)
        pool = experiment.pool
        source = draw_support(pool, per_class, config.seed, draw) if per_class else pool.indices
        x_s, y_s = experiment.natural_support(source)
        support = experiment.factored_support(x_s)
        try:
            metrics = evaluator.test(support, x_s, y_s)
        finally:
            support.close()
        assert metrics is not None  # there is a test split: load_experiment has seen to it
        seconds = bcast_object(experiment.comm, time.monotonic() - started)
        history.add(draw, test_accuracy=metrics.accuracy, seconds=seconds)
        Recorder(experiment, store, source, experiment.display(x_s)).save(draw, x_s, y_s, history)
        store.note_step(experiment.comm, draw, history)
        experiment.reporter.advance("draw", draw + 1, draws, f"test {metrics.accuracy:.2%}")
    accuracy = history.column("test_accuracy")
    spread = f" ± {np.std(accuracy, ddof=1):.2%}" if draws > 1 else ""
    n_s = per_class * experiment.dataset.n_classes or len(experiment.pool)
    experiment.reporter.say(
        f"{n_s} natural images: test {np.mean(accuracy):.2%}{spread} over {draws} draw{'s' * (draws > 1)}"
    )
