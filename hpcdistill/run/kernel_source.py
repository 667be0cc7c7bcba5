"""A finished file of `hpcdistill kernel` as the kernel of a run's training images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcdistill.config import Config, parse_stored
from hpcdistill.errors import CheckpointError
from hpcdistill.io.kernel_file import KernelFile, check_same
from hpcdistill.schema import flatten

if TYPE_CHECKING:
    from hpcdistill.run.experiment import Experiment

#: Keys that say where or how, and not what entries are.
_ASIDE = {"data.name", "data.root", "kernel.backend", "kernel.precision"}


def entry_settings(config: Config, *sections: str) -> dict[str, Any]:
    """Return the settings of some sections, such as "kernel.", that decide on the entries of a kernel."""
    return {key: value for key, value in flatten(config).items() if key.startswith(sections) and key not in _ASIDE}


def open_kernel(path: Path, experiment: Experiment) -> KernelFile:
    """Return the file of the kernel of all training images of an experiment with themselves. Not collective.

    Its rows are in ascending order of the images in the training split.

    Raises:
        CheckpointError: there is none, it is of something else, or not complete.
    """
    file = kernel_with_settings(path, experiment.config)
    images = file.arrays["row_index"], file.attributes["train_sha256"]
    indices, digest = np.sort(experiment.pool.indices), experiment.dataset.sha256.get("train", "")
    if not np.array_equal(images[0], indices) or images[1] != digest:
        theirs = f"{len(images[0]):,} images of {file.attributes['dataset']}"
        ours = f"{len(indices):,} images of {experiment.dataset.name}"
        raise CheckpointError(
            f"{path}: is of other training images ({theirs}) than this run's ({ours}"
            f"{': of other content, or drawn with another seed' * (theirs == ours)}). {_compute(path)}"
        )
    if missing := len(file.missing()):
        raise CheckpointError(f"{path}: {missing} of its {len(file.tiles())} tiles are missing. {_compute(path)}")
    return file


def kernel_with_settings(path: Path, config: Config) -> KernelFile:
    """Return the file of a kernel of training images with themselves, of whatever images. Not collective.

    Raises:
        CheckpointError: there is none, or it was made with other settings.
    """
    file = KernelFile.open(path)
    if "config" not in file.attributes:
        raise CheckpointError(f"{path}: was written by NeuralKernel.to_hdf5. {_compute(path)}")
    stored = parse_stored(file.attributes["config"], where=str(path))
    there, wanted = (entry_settings(one, "preprocess.", "kernel.") for one in (stored, config))
    remedy = f"Give the settings that it was made with, or another file. {_compute(path)}"
    check_same(path, there | {"rows": file.attributes["rows"]}, wanted | {"rows": "train"}, remedy)
    return file


def _compute(path: Path) -> str:
    return f"`hpcdistill kernel CONFIG.toml --output {path.name}` with the same settings computes it, or goes on."
