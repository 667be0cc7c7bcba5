"""Users' own data: what both file formats hold, and the checks it must pass."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.preprocess import fit_standardisation
from hpcdistill.data.readers.check import make_split
from hpcdistill.data.readers.files import expand_home
from hpcdistill.data.readers.hdf5 import read_hdf5
from hpcdistill.data.readers.npz import read_npz
from hpcdistill.data.readers.own_arrays import check_images, check_labels
from hpcdistill.data.units import UNITS_SAMPLE, check_units
from hpcdistill.errors import DataError

KEYS = ("images", "labels", "test_images", "test_labels", "class_names")

ReadArrays = Callable[[Path, Sequence[str]], tuple[dict[str, np.ndarray], list[str]]]
READERS: dict[str, ReadArrays] = {".npz": read_npz, ".h5": read_hdf5, ".hdf5": read_hdf5}


def read_own(name: str) -> Dataset:
    """Read a user's own file.

    Args:
        name: path of an `.npz`, `.h5` or `.hdf5` file with `images`, `(n, h, w)` or `(n, h, w, c)`, and `labels`,
            `(n,)` integers 0…k-1; optionally `test_images`, `test_labels` and `class_names`, `(k,)` text.

    Returns:
        images `(n, h, w, c)`: uint8 where they are integers 0…255; otherwise float32, and `display_range` is the least
        and the greatest value of the training images. Without `class_names` the classes are named by their numbers.

    Raises:
        DataError: the file or an array in it cannot be used; the message names the file and the key. Not collective.
    """
    path = expand_home(name)
    arrays, existing = READERS[path.suffix.lower()](path, KEYS)
    for key in _required(arrays):
        if key not in arrays:
            raise DataError(f"{path}: no key {key!r}; the file has {existing}. Store the array under {key!r}.")
    class_names = _class_names(path, arrays)
    train = _read_split(path, arrays, "", len(class_names))
    _check_classes(path, train, class_names)
    test = _read_split(path, arrays, "test_", len(class_names)) if "test_images" in arrays else None
    if test is not None:
        _check_same_kind(path, train, test)
    return Dataset(path.name, train, test, class_names, _display_range(path, train.images))


def _required(arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    has_test = "test_images" in arrays or "test_labels" in arrays
    return KEYS[:4] if has_test else KEYS[:2]


def _class_names(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, ...]:
    if "class_names" not in arrays:
        labels = check_labels(arrays["labels"], f"{path}: 'labels'")
        return tuple(str(number) for number in _numbers(path, labels))
    names = arrays["class_names"]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DataError(f"{path}: 'class_names' must be text (k,), it is {names.dtype} {names.shape}. Correct it.")
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)


def _numbers(path: Path, labels: np.ndarray) -> range:
    """Return 0…max, having made sure that each is present, so that a stray huge label makes no huge range."""
    present = np.unique(labels)
    gaps = np.flatnonzero(present != np.arange(len(present)))
    if gaps.size:
        raise DataError(
            f"{path}: 'labels' reach {present[-1]} but no image has label {gaps[0]}. "
            "Renumber the classes 0…k-1 without gaps."
        )
    return range(len(present))


def _read_split(path: Path, arrays: dict[str, np.ndarray], prefix: str, n_classes: int) -> Split:
    images_key, labels_key = f"{prefix}images", f"{prefix}labels"
    labels = check_labels(arrays[labels_key], f"{path}: {labels_key!r}")
    images = check_images(arrays[images_key], f"{path}: {images_key!r}")
    return make_split(images, labels, n_classes, f"{path}: {images_key!r}, {labels_key!r}")


def _check_classes(path: Path, train: Split, class_names: tuple[str, ...]) -> None:
    counts = np.bincount(train.labels, minlength=len(class_names))
    empty = np.flatnonzero(counts == 0)
    if empty.size:
        raise DataError(
            f"{path}: class {empty[0]} ({class_names[empty[0]]}) has no training image. Remove it or add images."
        )
    if len(class_names) < 2:
        raise DataError(f"{path}: 'labels' has a single class. At least two are needed.")


def _check_same_kind(path: Path, train: Split, test: Split) -> None:
    """Raise `DataError` unless both splits have images of one shape, type and unit."""
    if train.images.shape[1:] != test.images.shape[1:]:
        raise DataError(
            f"{path}: training images are {train.images.shape[1:]} but test images {test.images.shape[1:]} (h, w, c). "
            "Resize them to one shape."
        )
    if train.images.dtype != test.images.dtype:
        raise DataError(
            f"{path}: training images are {train.images.dtype} but test images {test.images.dtype}. "
            "Store both as one type."
        )
    some = np.arange(0, len(train), max(1, len(train) // UNITS_SAMPLE))
    check_units(fit_standardisation(train.images, some, (0.0, 255.0)), test.images, f"{path}: 'test_images'")


def _display_range(path: Path, images: np.ndarray) -> tuple[float, float]:
    low, high = float(images.min()), float(images.max())
    if low == high:
        raise DataError(f"{path}: every pixel of 'images' is {low}. There is nothing to learn from; check the export.")
    return (0.0, 255.0) if images.dtype == np.uint8 else (low, high)
