"""The loop of a Label Solve run: chunk after chunk of targets, then the solution."""

from __future__ import annotations

import time

import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.learning.history import History
from hpcdistill.learning.label_solve import REDUCTIONS, reduce_chunk, solve_labels
from hpcdistill.mpi.collectives import bcast_object
from hpcdistill.run.evaluation import Evaluator
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.recorder import Recorder
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import Store


def run_label_solve(experiment: Experiment, store: Store, resumed: Checkpoint | None, boundary: Boundary) -> None:
    """Solve for the support labels over all training images, from the start or from the last chunk. Collective.

    Raises:
        StopRequested: on every rank; the chunks so far have been saved.
    """
    comm, config = experiment.comm, experiment.config
    reduction = REDUCTIONS[config.label_solve.method]
    source = draw_support(experiment.pool, config.support.images_per_class, config.seed)
    x_s, y_s = experiment.natural_support(source)
    recorder = Recorder(experiment, store, source, experiment.display(x_s))
    indices = experiment.pool.indices

    history, square, chunks, absorbed = History(), np.zeros((sum(y_s.shape),) * 2), 0, 0
    if resumed is not None:
        history, chunks = History.from_arrays(resumed.history()), int(resumed.arrays["random/step"][0])
        square, absorbed = resumed.arrays["label_solve/square"], int(resumed.arrays["label_solve/absorbed"][0])
    if absorbed == len(indices) and np.isfinite(history.rows[chunks]["loss"]):
        experiment.reporter.say("this Label Solve is finished already")
        return
    started = time.monotonic() - history.last_seconds
    support = experiment.factored_support(x_s)

    def save(labels: np.ndarray) -> None:
        reduced = {"label_solve/square": square, "label_solve/absorbed": np.array([absorbed])}
        recorder.save(chunks, x_s, labels, history, **reduced)

    while absorbed < len(indices):
        boundary.check(comm)
        chunk = indices[absorbed : absorbed + config.label_solve.chunk]
        experiment.reporter.advance("Label Solve targets", absorbed, len(indices), unit=len(chunk))
        square = reduce_chunk(comm, support, experiment.train_targets(chunk), square, reduction)
        chunks, absorbed = chunks + 1, absorbed + len(chunk)
        history.add(chunks, seconds=bcast_object(comm, time.monotonic() - started))
        save(y_s)
        store.note_step(comm, chunks, history)

    solution = solve_labels(comm, experiment.kernels, support, square, len(indices), reduction)
    try:
        metrics = Evaluator(experiment, store, boundary).test(support, x_s, solution.labels)
    finally:
        support.close()
    accuracy = None if metrics is None else metrics.accuracy
    seconds = bcast_object(comm, time.monotonic() - started)
    history.add(chunks, loss=solution.loss, test_accuracy=accuracy, seconds=seconds)
    save(solution.labels)
    experiment.reporter.say(f"solved over {len(indices)} targets: loss {solution.loss:.5f}"
                 + (f"  test {accuracy:.2%}" if accuracy is not None else ""))  # fmt: skip
