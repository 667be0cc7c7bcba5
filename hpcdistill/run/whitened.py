"""Images that a method asks for again and again, whitened once.

Whitening takes 2 d² operations per image of d features: 19 million for 32×32×3, which is more than a fully connected
kernel takes with a hundred support images.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from hpcdistill.data.memory import available_bytes
from hpcdistill.data.zca import Zca
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import bcast_object, node_communicator
from hpcdistill.mpi.partition import chunk_ranges
from hpcdistill.mpi.shared import fill_shared, has_room
from hpcdistill.run.experiment import Experiment

#: Images whitened at a time, by one rank; not a function of the number of ranks, so that results are not.
_CHUNK = 1024
#: Part of the free memory that each split may take.
_SHARE = 0.25


def keep_whitened(experiment: Experiment) -> Experiment:
    """Return the experiment with its splits' whitened images in each node's shared memory, where that pays. Collective.

    It pays where there is ZCA and images are asked for more than once as they are: test images, and training images
    that are not augmented. A split that would take more than a quarter of a node's free memory is whitened batch by
    batch on that node, as it would be without; results differ in rounding only.
    """
    targets = experiment.method.repeated_targets(experiment.config, len(experiment.pool))
    if not targets or not isinstance(experiment.preprocessing, Zca):
        return experiment
    names = ["train"] if experiment.augmentation.changes_nothing and targets > len(experiment.dataset.train) else []
    names += ["test"] if experiment.test is not None else []
    node = node_communicator(experiment.comm)
    kept = {name: _whiten(experiment, node, name) for name in names if _fits(experiment, node, name)}
    node.Free()
    return replace(experiment, whitened=kept)


def _fits(experiment: Experiment, node: MPI.Intracomm, name: str) -> bool:
    n_bytes, available = 8 * experiment.dataset.split(name).images.size, bcast_object(node, available_bytes())
    return has_room(node, n_bytes) and (available is None or n_bytes <= _SHARE * available)


def _whiten(experiment: Experiment, node: MPI.Intracomm, name: str) -> np.ndarray:
    images = experiment.dataset.split(name).images

    def fill(whitened: np.ndarray) -> None:
        experiment.reporter.rows(f"{name} images whitened", 0, len(images))
        for start, stop in list(chunk_ranges(len(images), _CHUNK))[node.Get_rank() :: node.Get_size()]:
            whitened[start:stop] = experiment.preprocessing.apply(images[start:stop])
            experiment.reporter.rows(f"{name} images whitened", stop, len(images))

    return fill_shared(node, images.shape, np.dtype(np.float64), fill)
