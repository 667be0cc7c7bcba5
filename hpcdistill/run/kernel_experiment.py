"""The kernel matrix of a configuration's images: what it is of, and that it stays that.

With ZCA its last digits depend on the matrix, which depends on the number of ranks that fit it: those of the first
start. It is kept beside the file, in FILE.zca.h5. They may also depend on whether a node has room for all whitened
images (`whitened`), since these are whitened in other batches then.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hpcdistill
from hpcdistill.attempt import StopSignal
from hpcdistill.config import Config, parse_stored
from hpcdistill.data.dataset import Dataset
from hpcdistill.errors import CheckpointError, DataError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.kernel_create import create, is_there
from hpcdistill.io.kernel_file import KernelFile, check_same
from hpcdistill.io.tile import check_count
from hpcdistill.kernels.base import KernelBackend, variant
from hpcdistill.kernels.select import choose_backend
from hpcdistill.method import Method
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.evaluate import for_evaluation
from hpcdistill.run.experiment import Experiment, load_experiment
from hpcdistill.run.kernel_matrix import Images, Telling, compress_once, fill, same_backend
from hpcdistill.run.kernel_source import entry_settings
from hpcdistill.run.origin import Origin, data_attributes, other_splits
from hpcdistill.run.preprocessing import keep_preprocessing, preprocessing_hash
from hpcdistill.run.recorder import git_commit
from hpcdistill.run.whitened import keep_whitened
from hpcdistill.whole_file import remove_leftovers


@dataclass(frozen=True)
class Wanted:
    """What is to be computed.

    Attributes:
        rows: "train" or "test": the images of the rows; those of the columns are the training images.
        dtype: of the entries.
        tile: side of a tile.
    """

    rows: str
    dtype: np.dtype
    tile: int

    @property
    def splits(self) -> dict[str, str]:
        """The splits of the images of either side."""
        return {"row": self.rows, "column": "train"}


class _Everything(Method):
    """What is done with the images: each is asked for many times."""

    def __init__(self, wanted: Wanted) -> None:
        self.needs_test = wanted.rows == "test"

    def repeated_targets(self, config: Config, n_train: int) -> int:
        """See `Method`."""
        return 2 * n_train


class _FileOrigin(Origin):
    """A file of a kernel, with which its computation goes on."""

    def check(self, dataset: Dataset) -> None:
        """See `Origin`."""
        if others := other_splits(self.checkpoint, dataset):
            raise DataError(
                f"{dataset.name}: its {' and '.join(others)} images or labels are not those that the kernel in "
                f"{self.checkpoint.where} was begun with ({self.checkpoint.attribute('dataset')}). Restore them, or "
                "give another file with --output."
            )


def compute(
    comm: MPI.Intracomm, config: Config, wanted: Wanted, path: Path, asked: StopSignal, *, compressed: bool
) -> None:
    """Compute the kernel of a configuration's images into `path`, or what is missing there. Collective.

    Raises:
        InputError: on every rank, before anything is written; also where `path` is of something else.
        NotFiniteError, StorageError, StopRequested: see `kernel_matrix.fill`.
    """
    config, path = for_evaluation(config), Path(os.path.realpath(path))
    with Reporter(comm.Get_rank() == 0) as reporter:
        telling = Telling(reporter.say, reporter.advance, asked)
        file = on_root(comm, lambda: _stored(path, config, wanted))
        origin = _FileOrigin(_as_checkpoint(file), _zca_path(path), same_data=True) if file else None
        experiment = keep_whitened(load_experiment(comm, config, reporter, origin, method=_Everything(wanted)))
        with agree(comm):
            indices = _indices(experiment, wanted)
        choose, requested = _choice(experiment, wanted, reporter), config.kernel.backend
        if is_new := file is None:
            _begin(comm, path, experiment, wanted, indices, variant(same_backend(comm, choose, requested, path)))
            file = on_root(comm, lambda: _stored(path, config, wanted))
            assert file is not None  # it was made
        with agree(comm):
            _check_preprocessing(file, experiment)
        keep_preprocessing(comm, experiment.preprocessing, _zca_path(path), resumed=not is_new)
        reporter.say(_headline(experiment, file))
        stored, images = file.attributes["backend"], _images(experiment, wanted, indices)
        fill(comm, file, images, lambda: same_backend(comm, choose, requested, path, stored), telling)
        if compressed:
            compress_once(comm, file, telling)
        reporter.say(f"wrote {path}")


def _stored(path: Path, config: Config, wanted: Wanted) -> KernelFile | None:
    """Return the file that is there, if there is one; `CheckpointError` where it is of something else."""
    remove_leftovers(_zca_path(path))
    if not is_there(path):
        return None
    file = KernelFile.open(path)
    if "config" not in file.attributes:
        raise CheckpointError(
            f"{path}: was written by NeuralKernel.to_hdf5, which goes on with it. Give another file with --output."
        )
    stored = parse_stored(file.attributes["config"], where=str(path))
    there = _identity(stored, Wanted(file.attributes["rows"], file.dtype, file.tile))
    remedy = "Give the settings that it was made with to go on with it, or another file with --output."
    check_same(path, there, _identity(config, wanted), remedy)
    return file


def _as_checkpoint(file: KernelFile) -> Checkpoint:
    return Checkpoint(file.arrays, file.attributes, str(file.path))


def _choice(experiment: Experiment, wanted: Wanted, reporter: Reporter) -> Callable[[str], KernelBackend]:
    """Return a function that chooses a backend by name."""
    architecture, shape = experiment.config.architecture, experiment.dataset.image_shape
    return lambda name: choose_backend(architecture, shape, wanted.dtype, name, reporter.say)


def _begin(
    comm: MPI.Intracomm, path: Path, experiment: Experiment, wanted: Wanted, indices: Mapping[str, np.ndarray],
    backend: str,
) -> None:  # fmt: skip
    """Make the file, unless another process has. Collective.

    The ZCA matrix comes first: a file without it could not be gone on with.
    """
    with agree(comm):
        check_count(wanted.tile, _shape(indices), "--tile")
    if not on_root(comm, lambda: is_there(path)):
        keep_preprocessing(comm, experiment.preprocessing, _zca_path(path), resumed=False)
        on_root(comm, lambda: _create(path, experiment, wanted, indices, backend))


def _identity(config: Config, wanted: Wanted) -> dict[str, Any]:
    """Return what decides on the entries."""
    keys = entry_settings(config, "data.", "preprocess.", "kernel.")
    return keys | {"seed": config.seed, "rows": wanted.rows, "--dtype": str(wanted.dtype), "--tile": wanted.tile}


def _indices(experiment: Experiment, wanted: Wanted) -> dict[str, np.ndarray]:
    """Return which images of their splits rows and columns are, in their order there."""
    train = np.sort(experiment.pool.indices)
    if wanted.rows == "train":
        return {"row": train, "column": train}
    assert experiment.test is not None  # `needs_test`
    return {"row": np.sort(experiment.test), "column": train}


def _shape(indices: Mapping[str, np.ndarray]) -> tuple[int, int]:
    return len(indices["row"]), len(indices["column"])


def _create(
    path: Path, experiment: Experiment, wanted: Wanted, indices: Mapping[str, np.ndarray], backend: str
) -> None:
    dataset, splits = experiment.dataset, wanted.splits
    arrays = {f"{side}_index": chosen for side, chosen in indices.items()}
    arrays |= {f"{side}_labels": dataset.split(splits[side]).labels[chosen] for side, chosen in indices.items()}
    arrays |= {f"preprocess/{name}": array for name, array in experiment.preprocessing.arrays().items()}
    attributes = {
        "rows": wanted.rows, "config": experiment.config.to_toml(), "dataset": dataset.name,
        "class_names": "\n".join(dataset.class_names), "architecture": experiment.config.kernel.architecture,
        "zca_sha256": preprocessing_hash(experiment.preprocessing), "hpcdistill_version": hpcdistill.__version__,
        "git_commit": git_commit(), "backend": backend, **data_attributes(dataset),
    }  # fmt: skip
    create(path, _shape(indices), wanted.dtype, wanted.tile, is_symmetric=wanted.rows == "train", attributes=attributes,
           arrays=arrays)  # fmt: skip


def _check_preprocessing(file: KernelFile, experiment: Experiment) -> None:
    if file.attributes["zca_sha256"] != preprocessing_hash(experiment.preprocessing):
        raise CheckpointError(
            f"{file.path}: was begun with another ZCA matrix than {_zca_path(file.path)} holds, or than is fitted here "
            "where that is missing. Restore that, or start on as many ranks as at first, or anew with another --output."
        )


def _images(experiment: Experiment, wanted: Wanted, indices: Mapping[str, np.ndarray]) -> Images:
    def fetch(side: str) -> Any:
        return lambda start, stop: experiment.images(wanted.splits[side], indices[side][start:stop])

    columns = fetch("column")
    rows = columns if wanted.rows == "train" else fetch("row")
    return Images(rows, columns, experiment.dataset.image_shape)


def _headline(experiment: Experiment, file: KernelFile) -> str:
    network = f"{experiment.config.kernel.architecture} {experiment.config.kernel.kind.upper()}"
    rows = "training" if file.is_symmetric else "test"
    gib = file.shape[0] * file.shape[1] * file.dtype.itemsize / 2**30
    return (f"{network} of {file.shape[0]} {rows} by {file.shape[1]} training images of {experiment.dataset.name}, "
            f"{file.dtype}, {gib:.2f} GiB in {len(file.tiles())} tiles, backend {file.attributes['backend']}, "
            f"ranks {experiment.comm.Get_size()}, {file.path}")  # fmt: skip


def _zca_path(path: Path) -> Path:
    """Where the ZCA matrix is kept that a file's images were whitened with."""
    return path.with_name(f"{path.name}.zca.h5")
