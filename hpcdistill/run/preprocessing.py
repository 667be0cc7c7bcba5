"""Preprocessing of a run: fitted on its training images over all ranks, or read back from the run's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpcdistill.config import Config
from hpcdistill.data.dataset import Dataset
from hpcdistill.data.memory import check_memory
from hpcdistill.data.preprocess import Preprocessing, Standardisation, fit_standardisation
from hpcdistill.data.sampling import Pool
from hpcdistill.data.zca import MATRICES_WHILE_FITTING, Zca, normalise, second_moment, whitening_matrix
from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.preprocess_file import StoredZca, matrix_hash, read_zca, write_zca
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import (
    agree,
    bcast_array,
    bcast_object,
    node_communicator,
    on_root,
    sum_array,
    wait_quietly,
)
from hpcdistill.mpi.partition import block_range, chunk_ranges
from hpcdistill.mpi.shared import share_array
from hpcdistill.progress import Reporter

#: Training images whitened, or whose covariance is taken, at a time.
_CHUNK = 2048


def load_preprocessing(
    comm: MPI.Intracomm,
    config: Config,
    dataset: Dataset,
    pool: Pool,
    reporter: Reporter,
    *,
    standardisation: Standardisation | None = None,
    zca_file: Path | None = None,
) -> Preprocessing:
    """Return the configured preprocessing, the same on every rank. Collective.

    Args:
        pool: the training images to fit it on.
        standardisation: of a checkpoint whose preprocessing it is to be; None where it is to be fitted.
        zca_file: where the run of that checkpoint keeps its ZCA matrix; it is fitted anew where there is no such file.

    Raises:
        ConfigError: on every rank; more features than there is memory for.
        CheckpointError: on every rank; the file is damaged.
    """
    images = dataset.train.images
    standardise = standardisation or on_root(
        comm, lambda: fit_standardisation(images, pool.indices, dataset.display_range)
    )
    if not config.preprocess.zca:
        return standardise
    node = node_communicator(comm)
    _check_memory(comm, node, int(np.prod(dataset.image_shape)))
    stored = None
    if on_root(comm, lambda: zca_file is not None and zca_file.exists()):
        assert zca_file is not None  # it exists
        stored = _read(comm, node, zca_file)
    else:
        reporter.say(f"fitting ZCA of {np.prod(dataset.image_shape)} features on {len(pool)} images")
        stored = _fit(comm, node, standardise, images, pool.indices, config.preprocess.zca_reg)
    node.Free()
    return Zca(standardise, stored.matrix, stored.reg, stored.display_norm)


def keep_preprocessing(comm: MPI.Intracomm, preprocessing: Preprocessing, path: Path, *, resumed: bool) -> None:
    """Write the ZCA matrix, if there is one, unless a resumed run has kept it already. Collective."""
    if (stored := zca_to_keep(preprocessing)) is not None:
        on_root(comm, lambda: None if resumed and path.exists() else write_zca(path, stored))


def zca_to_keep(preprocessing: Preprocessing) -> StoredZca | None:
    """Return what is kept of a preprocessing beside its checkpoints, None without ZCA. Not collective."""
    if not isinstance(preprocessing, Zca):
        return None
    return StoredZca(preprocessing.matrix, preprocessing.reg, preprocessing.display_norm)


def check_zca(preprocessing: Preprocessing, checkpoint: Checkpoint, path: Path, say: Callable[[str], None]) -> None:
    """See to it that a checkpoint's images are read as they were made. Not collective.

    Args:
        path: where its ZCA matrix should be.
        say: told where the matrix had to be fitted anew.

    Raises:
        CheckpointError: what is there is another matrix.
    """
    if checkpoint.attributes.get("zca_sha256", "") == preprocessing_hash(preprocessing):
        return
    if path.exists():
        raise CheckpointError(
            f"{path}: is not the ZCA matrix that this checkpoint was made with. Move it away to fit ZCA anew."
        )
    say(f"{path} is missing: ZCA was fitted anew, so figures may differ in the last digits")


def preprocessing_hash(preprocessing: Preprocessing) -> str:
    """Return the hash of the ZCA matrix, "" without one. Not collective."""
    return matrix_hash(preprocessing.matrix) if isinstance(preprocessing, Zca) else ""


def _check_memory(comm: MPI.Intracomm, node: MPI.Intracomm, features: int) -> None:
    ranks = node.Get_size()
    with agree(comm):
        check_memory(
            8 * features**2 * (MATRICES_WHILE_FITTING + ranks),
            f"preprocess.zca of {features} features ({ranks} ranks on a node)",
            "Use smaller images, fewer ranks per node, or preprocess.zca=false.",
        )


def _read(comm: MPI.Intracomm, node: MPI.Intracomm, path: Path) -> StoredZca:
    found = None
    with agree(comm):
        if node.Get_rank() == 0:
            found = read_zca(path)
    reg, display_norm = bcast_object(node, (found.reg, found.display_norm) if found else None) or (0.0, 0.0)
    return StoredZca(share_array(node, found.matrix if found else None), reg, display_norm)


def _fit(
    comm: MPI.Intracomm,
    node: MPI.Intracomm,
    standardise: Standardisation,
    images: np.ndarray,
    indices: np.ndarray,
    reg: float,
) -> StoredZca:
    """Add up each rank's part of the covariance; rank 0 takes the root and gives it to all. Collective."""
    features = int(np.prod(images.shape[1:]))
    moment, norms = np.zeros((features, features)), np.zeros(1)
    start, stop = block_range(len(indices), comm.Get_size(), comm.Get_rank())
    with agree(comm):
        for a, b in chunk_ranges(stop - start, _CHUNK):
            x = standardise.apply(images[indices[start + a : start + b]])
            moment += second_moment(normalise(x))
            norms += np.linalg.norm((x - x.mean(axis=(1, 2, 3), keepdims=True)).reshape(len(x), -1), axis=1).sum()
    sum_array(comm, moment)
    display_norm = float(sum_array(comm, norms)[0]) / len(indices)
    with agree(comm):
        if comm.Get_rank() == 0:
            moment = whitening_matrix(moment, len(indices), reg)
    wait_quietly(comm)
    matrix = share_array(node, bcast_array(comm, moment))
    return StoredZca(matrix, reg, display_norm)
