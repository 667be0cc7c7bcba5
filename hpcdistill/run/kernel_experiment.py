"""The kernel matrix of a configuration's images: what it is of, and that it stays that."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

import hpcdistill
from hpcdistill.attempt import StopSignal
from hpcdistill.config import Config, parse_stored
from hpcdistill.data.dataset import Dataset
from hpcdistill.errors import CheckpointError, ConfigError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.kernel_file import KernelFile, check_same, compress, create
from hpcdistill.kernels.select import choose_backend
from hpcdistill.method import Method
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.evaluate import for_evaluation
from hpcdistill.run.experiment import Experiment, load_experiment
from hpcdistill.run.kernel_matrix import Images, fill
from hpcdistill.run.origin import Origin, check_same_data, data_attributes
from hpcdistill.run.preprocessing import keep_preprocessing, preprocessing_hash
from hpcdistill.run.recorder import git_commit
from hpcdistill.run.whitened import keep_whitened
from hpcdistill.schema import flatten

#: Sections that say what the matrix is of, but for keys that say where or how.
_SECTIONS = ("data.", "preprocess.", "kernel.")
_ASIDE = {"data.name", "data.root", "kernel.backend", "kernel.precision"}


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
        check_same_data(self.checkpoint, dataset)


def compute(
    comm: MPI.Intracomm, config: Config, wanted: Wanted, path: Path, asked: StopSignal, *, compressed: bool
) -> None:
    """Compute the kernel of a configuration's images into `path`, or what is missing there. Collective.

    Raises:
        InputError: on every rank, before anything is written; also where `path` is of something else.
        StorageError, StopRequested: see `kernel_matrix.fill`.
    """
    config, path = for_evaluation(config), Path(os.path.realpath(path))
    with Reporter(comm.Get_rank() == 0) as reporter:
        stored = on_root(comm, lambda: _stored(path, config, wanted))
        origin = _FileOrigin(stored, _zca_path(path), same_data=True) if stored else None
        experiment = keep_whitened(load_experiment(comm, config, reporter, origin, method=_Everything(wanted)))
        with agree(comm):
            backend = choose_backend(config.architecture, experiment.dataset.image_shape, wanted.dtype,
                                     config.kernel.backend, reporter.say)  # fmt: skip
            indices = _indices(experiment, wanted)
        if stored is None:  # the matrix first: a file without it could not be gone on with
            keep_preprocessing(comm, experiment.preprocessing, _zca_path(path), resumed=False)
            on_root(comm, lambda: _create(path, experiment, wanted, indices))
            on_root(comm, lambda: _stored(path, config, wanted) and None)  # another process may have been quicker
        with agree(comm):
            file = KernelFile.open(path)
            _check_preprocessing(file, experiment)
        keep_preprocessing(comm, experiment.preprocessing, _zca_path(path), resumed=True)
        reporter.say(_headline(experiment, file, backend.name))
        fill(comm, file, _images(experiment, wanted, indices), backend, reporter.say,
             lambda done, total: reporter.advance("tile", done, total), asked)  # fmt: skip
        if compressed and not file.is_compressed:
            on_root(comm, lambda: compress(file))
        reporter.say(f"wrote {path}")


def _stored(path: Path, config: Config, wanted: Wanted) -> Checkpoint | None:
    """Return what a file says of itself, if there is one; `CheckpointError` where it is of something else."""
    if not path.exists():
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"{path.parent}: no such folder. Make it, or give another place with --output.")
        return None
    file = KernelFile.open(path)
    checkpoint = Checkpoint(file.arrays(), file.attributes, str(path))
    stored = parse_stored(checkpoint.attribute("config"), where=str(path))
    there = _identity(stored, Wanted(str(file.attributes["rows"]), file.dtype, file.tile))
    remedy = "Give the settings that it was made with to go on with it, or another file with --output."
    check_same(path, there, _identity(config, wanted), remedy)
    return checkpoint


def _identity(config: Config, wanted: Wanted) -> dict[str, Any]:
    """Return what decides on the entries."""
    keys = {k: v for k, v in flatten(config).items() if k.startswith(_SECTIONS) and k not in _ASIDE}
    return keys | {"seed": config.seed, "rows": wanted.rows, "--dtype": str(wanted.dtype), "--tile": wanted.tile}


def _indices(experiment: Experiment, wanted: Wanted) -> dict[str, np.ndarray]:
    """Return which images of their splits rows and columns are, in their order there."""
    train = np.sort(experiment.pool.indices)
    if wanted.rows == "train":
        return {"row": train, "column": train}
    assert experiment.test is not None  # `needs_test`
    return {"row": np.sort(experiment.test), "column": train}


def _create(path: Path, experiment: Experiment, wanted: Wanted, indices: Mapping[str, np.ndarray]) -> None:
    dataset, splits = experiment.dataset, wanted.splits
    arrays = {f"{side}_index": chosen for side, chosen in indices.items()}
    arrays |= {f"{side}_labels": dataset.split(splits[side]).labels[chosen] for side, chosen in indices.items()}
    arrays |= {f"preprocess/{name}": array for name, array in experiment.preprocessing.arrays().items()}
    attributes = {
        "rows": wanted.rows, "config": experiment.config.to_toml(), "dataset": dataset.name,
        "class_names": "\n".join(dataset.class_names), "architecture": experiment.config.kernel.architecture,
        "zca_sha256": preprocessing_hash(experiment.preprocessing), "hpcdistill_version": hpcdistill.__version__,
        "git_commit": git_commit(), **data_attributes(dataset),
    }  # fmt: skip
    shape = len(indices["row"]), len(indices["column"])
    create(path, shape, wanted.dtype, wanted.tile, is_symmetric=wanted.rows == "train", attributes=attributes,
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


def _headline(experiment: Experiment, file: KernelFile, backend: str) -> str:
    network = f"{experiment.config.kernel.architecture} {experiment.config.kernel.kind.upper()}"
    rows = "training" if file.is_symmetric else "test"
    gib = file.shape[0] * file.shape[1] * file.dtype.itemsize / 2**30
    return (f"{network} of {file.shape[0]} {rows} by {file.shape[1]} training images of {experiment.dataset.name}, "
            f"{file.dtype}, {gib:.2f} GiB in {len(file.tiles())} tiles, backend {backend}, "
            f"ranks {experiment.comm.Get_size()}, {file.path}")  # fmt: skip


def _zca_path(path: Path) -> Path:
    """Where the ZCA matrix is kept that a file's images were whitened with."""
    return path.with_name(f"{path.name}.zca.h5")
