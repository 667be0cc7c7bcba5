"""What a checkpoint says of the data it was made with, and whether the data at hand fit. Not collective."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Dataset
from hpcdistill.data.preprocess import Standardisation
from hpcdistill.data.units import check_units
from hpcdistill.errors import CheckpointError, DataError
from hpcdistill.io.checkpoint import Checkpoint

SPLITS = {"train": "training", "test": "test"}


@dataclass(frozen=True)
class Origin:
    """The checkpoint that an experiment goes on from, or evaluates.

    Attributes:
        zca_file: where its run keeps its ZCA matrix, if it has one.
        same_data: whether the data must be those that it was made with, as where a run goes on.
    """

    checkpoint: Checkpoint
    zca_file: Path
    same_data: bool

    def check(self, dataset: Dataset) -> None:
        """Raise `DataError` where the data do not fit, `CheckpointError` where the checkpoint is damaged."""
        if self.same_data:
            check_same_data(self.checkpoint, dataset)
        check_fits(self.checkpoint, dataset)
        if not self.same_data:
            standardise = self.standardisation()
            for name, split in (("training", dataset.train), ("test", dataset.test)):
                if split is not None:
                    check_units(standardise, split.images, f"{dataset.name}: its {name} images")

    def standardisation(self) -> Standardisation:
        """Return the means and standard deviations that the checkpoint's images were preprocessed with."""
        return stored_standardisation(self.checkpoint)


def data_attributes(dataset: Dataset) -> dict[str, str]:
    """Return the attributes by which a checkpoint names its data; "" for a split that there is not."""
    return {f"{split}_sha256": dataset.sha256.get(split, "") for split in SPLITS}


def other_splits(checkpoint: Checkpoint, dataset: Dataset) -> list[str]:
    """Return the splits, "training" and "test", that are not those which a checkpoint was made with."""
    now = data_attributes(dataset)
    return [words for split, words in SPLITS.items()
            if checkpoint.attribute(f"{split}_sha256") != now[f"{split}_sha256"]]  # fmt: skip


def check_same_data(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Raise `DataError` unless a run that goes on has the images and labels that it began with."""
    if changed := other_splits(checkpoint, dataset):
        raise DataError(
            f"{dataset.name}: its {' and '.join(changed)} images or labels are not those that the run to be resumed "
            f"began with ({checkpoint.attribute('dataset')}). Restore them, or start anew in another folder with "
            "--output."
        )


def check_fits(checkpoint: Checkpoint, dataset: Dataset) -> None:
    """Raise `DataError` unless a support is one of images and classes like those of a data set."""
    x_s, y_s = checkpoint.images("support/images"), checkpoint.array("support/labels")
    shape, n_classes = dataset.image_shape, dataset.n_classes
    if x_s.shape[1:] != shape or y_s.shape != (len(x_s), n_classes):
        raise DataError(
            f"{dataset.name}: its images are {shape} and of {n_classes} classes, but the support set in "
            f"{checkpoint.where} has images of {x_s.shape[1:]} and labels {y_s.shape}. Give the data set that it was "
            f"distilled from ({checkpoint.attribute('dataset')}), or one like it, with --set data.name=…."
        )


def stored_standardisation(checkpoint: Checkpoint) -> Standardisation:
    """Return the means and standard deviations that a checkpoint's images were preprocessed with.

    Raises:
        CheckpointError: they are missing or damaged.
    """
    mean, std, display = (checkpoint.array(f"preprocess/{name}") for name in ("mean", "std", "display_range"))
    channels = checkpoint.images("support/images").shape[-1:] if "support/images" in checkpoint.arrays else mean.shape
    intact = mean.shape == std.shape == channels and display.shape == (2,)
    if not intact or not all(np.isfinite(array).all() for array in (mean, std, display)) or not (std > 0).all():
        raise CheckpointError(
            f"{checkpoint.where}: its means and standard deviations (/preprocess) are damaged. Use another checkpoint."
        )
    return Standardisation(mean, std, (float(display[0]), float(display[1])))
