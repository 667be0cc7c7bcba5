"""K_ss of all training images: where its tiles come from, and the form in which it is solved with."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from hpcdistill.cost.memory import BESIDES, OVERHEAD, rank_memory
from hpcdistill.data.memory import available_bytes
from hpcdistill.errors import ConfigError
from hpcdistill.learning.assemble import Fetch, computed, support_kernel_blockcyclic
from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
from hpcdistill.linalg.factor import Progress, Shiftable
from hpcdistill.linalg.symmetric_whole import SymmetricWhole
from hpcdistill.methods.krr import KrrConfig
from hpcdistill.methods.krr.work import BLOCK, is_whole
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, node_communicator, on_root
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.kernel_source import open_kernel


def tiles_of(experiment: Experiment, x_s: np.ndarray, kernel_file: str) -> Fetch:
    """Return what gives tiles of K_ss: from a file, or computed. Collective.

    Args:
        x_s: all training images, in ascending order.

    Raises:
        CheckpointError: on every rank; the file is of something else, or not complete.
    """
    if kernel_file:
        file = on_root(experiment.comm, lambda: open_kernel(Path(kernel_file), experiment))
        experiment.reporter.say(f"K_ss is read from {kernel_file}, whose entries are {file.dtype}")
        return lambda rows, columns: file.read(range(*rows), range(*columns))
    with agree(experiment.comm):
        backend = experiment.kernels.ss
        return computed(backend, backend.prepare(x_s))


def whole_or_tiles(experiment: Experiment, fetch: Fetch, n: int, progress: Progress) -> Shiftable:
    """Return K_ss, as `SymmetricWhole` on each rank or as `SymmetricTiles` over all. Collective.

    Raises:
        ConfigError: on every rank; there is too little memory.
    """
    comm, dtype = experiment.comm, np.dtype(experiment.config.of(KrrConfig).precision)
    whole = is_whole(experiment.config, comm.Get_size())
    where = "one copy on each rank" if whole else "one copy over all ranks, ScaLAPACK"
    experiment.reporter.say(f"Cholesky of K_ss, {n:,} images in {dtype}: {where}")
    _check_memory(experiment, n, n * n * dtype.itemsize, whole=whole)
    grid = (1, 1) if whole else near_square_grid(comm.Get_size())
    layout = BlockCyclic.of_rank(n, n, BLOCK, BLOCK, *grid, 0 if whole else comm.Get_rank())
    with agree(comm):
        form = SymmetricWhole if whole else _tiles(comm, layout)
        local = support_kernel_blockcyclic(fetch, layout, dtype, progress)
    return form(local)


def _tiles(comm: MPI.Intracomm, layout: BlockCyclic) -> Callable[[np.ndarray], Shiftable]:
    """Return what makes tiles over all ranks of this rank's part, before that takes time. Not collective.

    Raises:
        EnvironmentSetupError: there is no ScaLAPACK.
    """
    from hpcdistill.linalg.symmetric_tiles import SymmetricTiles  # ScaLAPACK, which an installation may lack

    return partial(SymmetricTiles, comm, layout)


def _check_memory(experiment: Experiment, n: int, n_bytes: int, *, whole: bool) -> None:
    """Raise `ConfigError`, on every rank, where K_ss does not fit the memory of a node. Collective."""
    comm = experiment.comm
    node = node_communicator(comm)
    here, ranks = node.Get_size(), comm.Get_size()
    needed, left = here * rank_memory(n_bytes if whole else n_bytes / ranks), on_root(node, available_bytes)
    node.Free()
    with agree(comm):
        if left is not None and needed > left:
            nodes = -(-(OVERHEAD * n_bytes + here * BESIDES) // left)
            raise ConfigError(
                f"K_ss of {n:,} images takes {n_bytes / 2**30:.1f} GiB, of which {here} rank{'s' * (here > 1)} on this "
                f"node need {needed / 2**30:.1f} GiB, and {left / 2**30:.1f} GiB are free. Use {nodes:.0f} nodes like "
                "this one (one copy over all ranks: solve.method=scalapack), krr.precision=float32 (half of it), or "
                "krr.solver=conjugate_gradients, which needs no copy."
            )
