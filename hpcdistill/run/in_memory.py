"""A run of images that are in memory, whose result stays there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from hpcdistill.attempt import StopSignal
from hpcdistill.config import Config
from hpcdistill.data.dataset import Dataset
from hpcdistill.errors import ConfigError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.preprocess_file import StoredZca
from hpcdistill.mpi.binding import MPI, missing
from hpcdistill.mpi.collectives import agree, bcast_object
from hpcdistill.mpi.shared import freed_after
from hpcdistill.progress import Reporter
from hpcdistill.run.execute import headline
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.loop import run_method
from hpcdistill.run.preprocessing import zca_to_keep
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import MemoryStore


def run_in_memory(
    comm: MPI.Intracomm | None,
    prepare: Callable[[], tuple[Config, Callable[[], Dataset]]],
    told: Callable[[int, dict[str, float]], None] | None,
    *,
    show: bool,
) -> tuple[Checkpoint, StoredZca | None]:
    """Run a configuration and return its last checkpoint, or the best one on validation images. Collective.

    Args:
        comm: None for this process alone.
        prepare: checks what was asked for on every rank, and returns the configuration and what reads the data set.
        told: hears of each step on the first rank, with its figures.
        show: whether progress is shown, on the first rank.

    Returns:
        The checkpoint, and the ZCA matrix that its images were made with, on every rank.

    Raises:
        InputError, NumericalError: on every rank.
    """
    comm = comm or MPI.COMM_SELF
    if not isinstance(comm, MPI.Intracomm):
        why = f"needs MPI, and there is none here ({missing})" if missing else "must be a communicator of mpi4py"
        raise ConfigError(f"comm {why}: {comm!r} will not do. Leave it out for one process.")
    with agree(comm):
        config, read = prepare()
    same = bcast_object(comm, config.to_toml()) == config.to_toml()
    with agree(comm):
        if not same:
            raise ConfigError("The ranks call with different arguments. Call with the same on every rank.")
    with Reporter(show and comm.Get_rank() == 0) as reporter, freed_after():
        experiment = load_experiment(comm, config, reporter, read=read)
        reporter.say(headline(experiment))
        store = MemoryStore(told)
        with np.errstate(over="ignore", invalid="ignore"):  # what overflows is found, and named, where it matters
            run_method(experiment, store, None, Boundary(StopSignal(), reporter.say))
        checkpoint, zca = store.best or store.newest, zca_to_keep(experiment.preprocessing)
        assert checkpoint is not None  # every method saves its last step
        if zca is not None:
            zca = replace(zca, matrix=zca.matrix.copy())  # which the ranks of a node have shared
    return checkpoint, zca
