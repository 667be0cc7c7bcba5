"""Users' own data in one file: what both file formats hold, and the checks it must pass."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.preprocess import fit_standardisation
from hpcdistill.data.readers.check import display_range, make_split
from hpcdistill.data.readers.class_names import check_class_names, in_order, numbers_of, read_class_names
from hpcdistill.data.readers.files import expand_home
from hpcdistill.data.readers.formats import read_arrays
from hpcdistill.data.readers.own_arrays import read_images, read_labels
from hpcdistill.data.readers.reading import Reading
from hpcdistill.data.readers.roles import SPLITS, Roles, find_roles
from hpcdistill.data.units import UNITS_SAMPLE, check_units
from hpcdistill.errors import DataError


def read_own(name: str, reading: Reading) -> Dataset:
    """Read a user's own file.

    Args:
        name: path of an `.npz`, HDF5 or PyTorch file, told by its content (`formats`), with training images and
            labels, optionally those of a validation and a test split, and optionally the names of the classes; `roles`
            says how arrays are named, `own_arrays` what they hold.
        reading: what the user says of it.

    Returns:
        images `(n, h, w, c)`: uint8 where they are integers 0…255; otherwise float32, and `display_range` is the least
        and the greatest value of the training images. Without names the classes are named by their numbers. `notes`
        say what was taken for granted.

    Raises:
        DataError: the file or an array in it cannot be used; the message names the file and the key. Not collective.
    """
    path = expand_home(name)
    roles: list[Roles] = []

    def choose(names: Sequence[str]) -> Sequence[str]:
        roles.append(find_roles(path, names, reading.said))
        return roles[0].used

    _, arrays = read_arrays(path, choose)
    return _Reader(path, reading, roles[0], arrays).dataset()


def dataset_of_arrays(arrays: dict[str, np.ndarray], reading: Reading, name: str) -> Dataset:
    """Return a data set of `images`, `labels` and, optionally, `test_images`, `test_labels`; see `read_own`.

    Args:
        name: of the data set, and for messages.
    """
    roles = find_roles(Path(name), list(arrays), {key: key for key in arrays})
    return _Reader(Path(name), reading, roles, arrays).dataset()


class _Reader:
    """What becomes of the arrays of one file."""

    def __init__(self, path: Path, reading: Reading, roles: Roles, arrays: dict[str, np.ndarray]) -> None:
        self._path, self._reading, self._roles, self._arrays = path, reading, roles, arrays
        self._notes: list[str] = []

    def dataset(self) -> Dataset:
        """Return all of it."""
        if self._roles.ignored:
            self._notes.append(f"{self._path} also has {', '.join(map(repr, self._roles.ignored))}, which is not used")
        keys = {split: self._roles.labels[split] for split in SPLITS if split in self._roles.labels}
        labels = self._from_zero(
            {split: read_labels(self._arrays[key], self._where(key)) for split, key in keys.items()}
        )
        class_names = self._class_names(labels["train"])
        check_class_names(class_names, str(self._path))
        splits = {split: self._split(split, labels[split], class_names) for split in labels}
        train = splits["train"]
        _check_classes(self._path, train, class_names)
        for split in ("validation", "test"):
            if split in splits:
                _check_same_kind(self._path, train, splits[split], split, self._roles.images[split])
        shown = display_range(self._where(self._roles.images["train"]), train.images)
        held_out = splits.get("validation")
        return Dataset(
            self._path.name,
            train.joined(held_out) if held_out else train,
            splits.get("test"),
            class_names,
            shown,
            validation=len(held_out) if held_out else 0,
            understood=tuple(map(self._understood, splits)),
            notes=tuple(self._notes),
        )

    def _from_zero(self, labels: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return labels by split; where they are numbers 1…k, as MATLAB counts, they become text, and names of classes.

        With names of classes in the file they become 0…k-1.
        """
        present = np.unique(labels["train"])
        if present.dtype.kind == "U" or not np.array_equal(present, np.arange(1, len(present) + 1)):
            return labels
        if any(len(part) and not 1 <= part.min() <= part.max() <= len(present) for part in labels.values()):
            return labels
        self._notes.append(f"{self._path}: labels are counted from 1 to {len(present)}")
        if self._roles.class_names is None:
            return {split: np.char.mod("%d", part) for split, part in labels.items()}
        return {split: part - 1 for split, part in labels.items()}

    def _understood(self, split: str) -> str:
        words = []
        for role, keys in (("images", self._roles.images), ("labels", self._roles.labels)):
            array = self._arrays[keys[split]]
            words.append(f"{role} {keys[split]!r} {array.shape} {array.dtype}")
        return f"{'training' if split == 'train' else split}: {', '.join(words)}"

    def _where(self, *keys: str) -> str:
        return f"{self._path}: {', '.join(map(repr, keys))}"

    def _class_names(self, labels: np.ndarray) -> tuple[str, ...]:
        key = self._roles.class_names
        if key is None:
            return _named_by_labels(labels, self._where(self._roles.labels["train"]))
        return read_class_names(self._arrays[key], self._where(key))

    def _split(self, split: str, labels: np.ndarray, class_names: tuple[str, ...]) -> Split:
        images_key, labels_key = self._roles.images[split], self._roles.labels[split]
        where = self._where(labels_key)
        if labels.dtype.kind == "U":
            labels = numbers_of(labels, class_names, where)
        elif len(labels) and labels.max() >= len(class_names):
            source = "training image" if self._roles.class_names is None else f"name in {self._roles.class_names!r}"
            raise DataError(
                f"{where} has the class {labels.max()}, of which there is no {source}. Add it, or leave it out."
            )
        array, axes = self._arrays[images_key], self._reading.axes
        if axes == "auto" and array.ndim in (3, 4) and len(array) != len(labels) == array.shape[-1]:
            raise DataError(
                f"{self._where(images_key)} of shape {array.shape} seems to have its {len(labels)} images along the "
                "last axis, as MATLAB has them. If so, say data.axes=hwcn."
            )
        images, note = read_images(array, self._where(images_key), axes)
        if note:
            self._notes.append(note)
        return make_split(images, labels, len(class_names), self._where(images_key, labels_key))


def _named_by_labels(labels: np.ndarray, where: str) -> tuple[str, ...]:
    """Return the names of classes: those that the labels are, or their numbers 0…max, each of which must be present.

    A stray huge label makes no huge range.
    """
    present = np.unique(labels)
    if labels.dtype.kind == "U":
        return in_order(present.tolist())
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size:
        raise DataError(
            f"{where} reach {present[-1]} but no image has label {gaps[0]}. Renumber the classes 0…k-1 without gaps."
        )
    return tuple(map(str, range(len(present))))


def _check_classes(path: Path, train: Split, class_names: tuple[str, ...]) -> None:
    counts = np.bincount(train.labels, minlength=len(class_names))
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise DataError(
            f"{path}: class {empty[0]} ({class_names[empty[0]]}) has no training image. Remove it or add images."
        )
    if len(class_names) < 2:
        raise DataError(f"{path}: all labels are of a single class. At least two are needed.")


def _check_same_kind(path: Path, train: Split, other: Split, split: str, key: str) -> None:
    """Raise `DataError` unless a split has images of the shape, type and unit of the training images."""
    if train.images.shape[1:] != other.images.shape[1:]:
        raise DataError(
            f"{path}: training images are {train.images.shape[1:]} but {split} images {other.images.shape[1:]} "
            "(h, w, c). Resize them to one shape."
        )
    if train.images.dtype != other.images.dtype:
        raise DataError(
            f"{path}: training images are {train.images.dtype} but {split} images {other.images.dtype}. "
            "Store both as one type."
        )
    some = np.arange(0, len(train), max(1, len(train) // UNITS_SAMPLE))
    check_units(fit_standardisation(train.images, some, (0.0, 255.0)), other.images, f"{path}: {key!r}")
