"""The loop of a Label Solve run: chunk after chunk of targets, then the solution."""

from __future__ import annotations

import time

import numpy as np

from hpcdistill.data.sampling import draw_support
from hpcdistill.distill.history import History
from hpcdistill.distill.label_solve import REDUCTIONS, reduce_chunk, solve_labels
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.mpi.collectives import bcast_object
from hpcdistill.mpi.partition import chunk_ranges
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.recorder import Recorder


def run_label_solve(experiment: Experiment, directory: RunDirectory, resumed: Checkpoint | None) -> None:
    """Solve for the support labels over all training images, from the start or from the last chunk. Collective."""
    comm, config = experiment.comm, experiment.config
    reduction = REDUCTIONS[config.label_solve.method]
    source = draw_support(experiment.pool, config.support.images_per_class, config.seed)
    x_s, y_s = experiment.natural_support(source)
    recorder = Recorder(experiment, directory, source)
    indices = experiment.pool.indices
    chunks = list(chunk_ranges(len(indices), config.label_solve.chunk))

    history, square, first = History(), np.zeros((sum(y_s.shape),) * 2), 0
    if resumed is not None:
        history, first = History.from_arrays(resumed.group("history")), int(resumed.arrays["random/step"][0])
        square = resumed.arrays["label_solve/square"]
    if first == len(chunks) and np.isfinite(history.rows[first]["loss"]):
        experiment.reporter.say("this Label Solve is finished already")
        return
    started = time.monotonic() - history.last_seconds
    support = experiment.factored_support(x_s)
    for done, (a, b) in enumerate(chunks[first:], start=first + 1):
        square = reduce_chunk(comm, support, experiment.train_targets(indices[a:b]), square, reduction)
        history.add(done, seconds=bcast_object(comm, time.monotonic() - started))
        recorder.save(done, x_s, y_s, history, **{"label_solve/square": square})
        experiment.reporter.advance("Label Solve chunk", done, len(chunks), f"{b} targets")

    solution = solve_labels(comm, experiment.kernels, support, square, len(indices), reduction)
    test = experiment.test_targets()
    accuracy = support.evaluate(solution.labels, test).accuracy if test else None
    support.close()
    seconds = bcast_object(comm, time.monotonic() - started)
    history.add(len(chunks), loss=solution.loss, test_accuracy=accuracy, seconds=seconds)
    recorder.save(len(chunks), x_s, solution.labels, history, **{"label_solve/square": square})
    experiment.reporter.say(f"solved over {len(indices)} targets: loss {solution.loss:.5f}"
                 + (f"  test {accuracy:.2%}" if accuracy is not None else ""))  # fmt: skip
