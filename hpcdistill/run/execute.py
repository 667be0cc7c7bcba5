"""Start, or resume, a run: check everything that can be checked, then hand over to the method."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcdistill.attempt import StopSignal, attempt_number
from hpcdistill.config import Config
from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.checkpoint_write import require_parallel_hdf5
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.io.run_notes import FurthestStep
from hpcdistill.learning.history import History
from hpcdistill.method import find_method
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.cost import say_cost
from hpcdistill.run.experiment import Experiment, load_experiment
from hpcdistill.run.loop import driver_class, run_method
from hpcdistill.run.origin import Origin
from hpcdistill.run.preprocessing import keep_preprocessing, preprocessing_hash
from hpcdistill.run.recorder import check_same_run
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import FolderStore


def execute(comm: MPI.Intracomm, config: Config, output: Path, asked: StopSignal, *, resume: bool) -> None:
    """Run a configuration and leave its checkpoints in `output`. Collective.

    Args:
        asked: hears the signals at which the run is to end early.
        resume: continue from the newest complete checkpoint in `output`, on any number of ranks; from the start where
            there is none.

    Raises:
        InputError: on every rank, before anything is written.
        NumericalError, StorageError: on every rank; what was saved before is intact.
        StopRequested: on every rank; what was computed is saved.
    """
    with agree(comm):
        require_parallel_hdf5(comm)
        driver_class(find_method(config.method), config)
    directory = RunDirectory(output)
    with Reporter(comm.Get_rank() == 0) as reporter:
        if (attempt := attempt_number()) > 1:
            reporter.say(f"attempt {attempt} of this job")
        checkpoint = _find_checkpoint(comm, config, directory, reporter) if resume else None
        origin = Origin(checkpoint, directory.preprocess, same_data=True) if checkpoint else None
        experiment = load_experiment(comm, config, reporter, origin)
        on_root(comm, lambda: _check_preprocessing(checkpoint, preprocessing_hash(experiment.preprocessing)))
        on_root(comm, lambda: directory.prepare(resume=resume))
        keep_preprocessing(comm, experiment.preprocessing, directory.preprocess, resumed=checkpoint is not None)
        store = FolderStore(directory, config.checkpoint.keep, paper_steps=experiment.method.keeps_paper_steps)
        reporter.say(f"{headline(experiment)}, output {output}")
        say_cost(experiment)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found, and named, where it matters
            run_method(experiment, store, checkpoint, Boundary(asked, reporter.say, experiment.method.shorter))
        on_root(comm, directory.notes.forget_tally)
        if on_root(comm, directory.latest.exists):
            reporter.say(f"wrote {directory.latest}")


def _find_checkpoint(
    comm: MPI.Intracomm, config: Config, directory: RunDirectory, reporter: Reporter
) -> Checkpoint | None:
    def find() -> Checkpoint | None:
        checkpoint = directory.newest(reporter.say)
        if checkpoint is not None:
            check_same_run(checkpoint, config, str(directory.path))
        reporter.say(_what_is_lost(checkpoint, directory.notes.read_reached()))
        return checkpoint

    return on_root(comm, find)


def _check_preprocessing(checkpoint: Checkpoint | None, sha256: str) -> None:
    """Raise `CheckpointError` if a resumed run's images would be preprocessed in another way than before."""
    if checkpoint is not None and checkpoint.attributes.get("zca_sha256", "") != sha256:
        raise CheckpointError(
            "preprocess.h5, or the training data, is not what the run to be resumed was made with. Restore it, or "
            "start anew in another folder with --output."
        )


def _what_is_lost(checkpoint: Checkpoint | None, reached: FurthestStep | None) -> str:
    """Return how much of what an earlier attempt had computed will be computed again."""
    step, seconds = 0, 0.0
    if checkpoint is not None:
        step = checkpoint.attribute("step")
        seconds = History.from_arrays(checkpoint.history()).last_seconds
    if reached is not None and reached.step > step:
        again = reached.step - step
        return (f"the run had got to step {reached.step}: {again} step{'s' * (again > 1)} "
                f"({reached.seconds - seconds:.1f} s) will be done again")  # fmt: skip
    return "nothing was saved yet: beginning anew" if checkpoint is None else "no finished step is lost"


def headline(experiment: Experiment) -> str:
    """Return a line that says what is run on what."""
    config, dataset, kernels = experiment.config, experiment.dataset, experiment.kernels
    height, width, channels = dataset.image_shape
    n_s = config.support.images_per_class * dataset.n_classes or len(experiment.pool)
    return (
        f"{config.method} on {dataset.name} ({len(experiment.pool)} training images {height}×{width}×{channels}, "
        f"{dataset.n_classes} classes), {n_s} support images, "
        f"{config.kernel.architecture} {config.kernel.kind.upper()}, "
        f"backend {kernels.ts.name} ({config.kernel.precision}), ranks {experiment.comm.Get_size()}"
    )
