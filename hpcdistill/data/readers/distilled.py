"""Distilled sets, whoever made them: a `.npz`, a `.pt`, or a folder of pictures. Not collective."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.data.readers.class_names import numbers_of, read_class_names
from hpcdistill.data.readers.formats import format_of, read_arrays
from hpcdistill.data.readers.npz import NpzFormat
from hpcdistill.data.readers.own_arrays import channels_last, is_one_hot, read_labels, without_bool
from hpcdistill.data.readers.pictures import SUFFIXES, read_pictures
from hpcdistill.data.readers.reading import DEFAULT, Reading
from hpcdistill.data.readers.roles import Roles, find_roles
from hpcdistill.data.readers.torch import TorchFormat
from hpcdistill.errors import DataError
from hpcdistill.labels_file import LABELS_FILE, read_labels_file

#: The images of our own exports, in the space that kernels see.
_PREPROCESSED = "images_preprocessed"
#: By which our own `.npz` files are known, and our files of tensors, whose `images` are preprocessed.
_OWN_ARRAYS, _OWN_TENSORS = {_PREPROCESSED, "mean", "std"}, {"images", "images_display", "labels", "mean", "std"}


@dataclass(frozen=True)
class ForeignSet:
    """What a file of a distilled set holds.

    Attributes:
        images: `(n, h, w, c)`, of the type in the file.
        labels: `(n,)` classes, int64, or `(n, classes)` labels as they are, float64.
        preprocessed: True where the images are as kernels see them, None where the file does not say.
        fitted: `mean` and `std` of the preprocessing, where the file has them.
        notes: what was taken for granted, a line each.
    """

    images: np.ndarray
    labels: np.ndarray
    preprocessed: bool | None = None
    fitted: tuple[np.ndarray, np.ndarray] | None = None
    notes: tuple[str, ...] = ()


def stored_settings(path: Path) -> str:
    """Return the configuration, TOML, that a file of ours says its set was made with; "" where there is none.

    Raises:
        DataError: the file cannot be read.
    """
    own = {NpzFormat: _OWN_ARRAYS, TorchFormat: _OWN_TENSORS}.get(type(format_of(path))) if path.is_file() else None
    if own is None:
        return ""
    found = read_arrays(path, lambda names: ["config"] if {*own, "config"} <= set(names) else [])[1]
    return str(found["config"]) if "config" in found else ""


def read_distilled(
    path: Path, class_names: Sequence[str], images: str = "", labels: str = "", reading: Reading = DEFAULT
) -> ForeignSet:
    """Read a distilled set.

    Args:
        path: an `.npz` or `.pt` file, or another of `formats`, with `images` and `labels` (or names like these); or
            a folder of pictures per class, with our `labels.csv` or without.
        class_names: of the data set, by which labels that are text, and folders, are told.
        images, labels: names of the arrays, where the user says so; "" to tell by their names.
        reading: order of axes, and size of pictures, as for data.

    Raises:
        DataError: it cannot be read, or not be told what is what.
    """
    if path.is_dir():
        return _read_folder(path, class_names, reading)
    roles: list[Roles] = []
    own = False

    def choose(names: Sequence[str]) -> Sequence[str]:
        nonlocal own
        own = not images and (set(names) >= _OWN_ARRAYS or set(names) >= _OWN_TENSORS)
        said = {"images": _PREPROCESSED if own and _PREPROCESSED in names else images, "labels": labels}
        roles.append(find_roles(path, names, said, "support"))
        return [*roles[0].used, *(("mean", "std") if own else ())]

    (kind, arrays), axes = read_arrays(path, choose), reading.axes
    if own:
        axes = "nhwc" if isinstance(kind, NpzFormat) else "nchw"
    return _distilled(path, arrays, roles[0], class_names, axes, own=own)


def _distilled(
    path: Path, arrays: dict[str, np.ndarray], roles: Roles, class_names: Sequence[str], axes: str, *, own: bool
) -> ForeignSet:
    images_key, labels_key = roles.images["train"], roles.labels["train"]
    images, note = channels_last(arrays[images_key], f"{path}: {images_key!r}", axes)
    if images.size == 0:
        raise DataError(f"{path}: {images_key!r} of shape {images.shape} is empty. At least one image is needed.")
    images = without_bool(images)
    key = roles.class_names
    theirs = () if key is None else read_class_names(arrays[key], f"{path}: {key!r}")
    labels, more = _labels(arrays[labels_key], class_names, theirs, f"{path}: {labels_key!r}")
    if len(images) != len(labels):
        raise DataError(f"{path}: {len(images)} images but {len(labels)} labels. They do not belong together.")
    if images.dtype.kind not in "iuf" or (images.dtype.kind == "f" and not np.isfinite(images).all()):
        raise DataError(f"{path}: {images_key!r} of type {images.dtype} are no images of finite numbers.")
    fitted = (arrays["mean"], arrays["std"]) if own else None
    return ForeignSet(images, labels, True if own else None, fitted, tuple(filter(None, [note, more])))


def _labels(
    labels: np.ndarray, class_names: Sequence[str], theirs: Sequence[str], where: str
) -> tuple[np.ndarray, str]:
    """Return classes, or soft labels, in the order of this data set's classes; and what was taken for granted.

    Args:
        theirs: names of the classes in the file's own order; none where it does not say.
    """
    if labels.size == 0:
        raise DataError(f"{where} of shape {labels.shape} is empty. Store one class number, or one row, per image.")
    if labels.ndim == 2 and len(labels) == 1 and labels.shape[1] != len(class_names):
        labels = labels[0]  # a row, as MATLAB has it
    order = _order(class_names, theirs, where)
    if labels.ndim == 2 and labels.shape[1] > 1:
        if labels.dtype.kind not in "biuf" or not np.isfinite(labels).all():
            raise DataError(f"{where} has labels that are not finite. Repair them.")
        if labels.shape[1] != len(class_names):
            raise DataError(f"{where} has labels of {labels.shape[1]} classes, the data set has {len(class_names)}.")
        labels = labels[:, order]
        if not is_one_hot(labels).all():
            return _centred(labels.astype(np.float64), where)
    classes = read_labels(labels, where)
    if classes.dtype.kind == "U":
        return numbers_of(classes, class_names, where), ""
    note = ""
    if classes.min() > 0 and classes.max() == len(class_names):
        classes, note = classes - 1, f"{where} are counted from 1 to {len(class_names)}"
    if classes.max(initial=0) >= len(class_names):
        raise DataError(f"{where} has the class {classes.max()}, the data set has {len(class_names)} classes.")
    if labels.ndim == 2 and labels.shape[1] > 1 and len(labels) > 1:
        return classes.astype(np.int64), note  # one-hot rows are in order already
    return np.argsort(order)[classes], note


def _centred(labels: np.ndarray, where: str) -> tuple[np.ndarray, str]:
    """Return soft labels; where they are probabilities, they are centred, as one-hot labels are."""
    if (labels < 0).any() or not np.allclose(labels.sum(axis=1), 1, atol=1e-3):
        return labels, ""
    return labels - 1 / labels.shape[1], f"{where} are probabilities: they are centred, as one-hot labels are"


def _order(class_names: Sequence[str], theirs: Sequence[str], where: str) -> np.ndarray:
    """Return where each class of the data set is among the classes of a file."""
    if not theirs or list(theirs) == list(class_names):
        return np.arange(len(class_names))
    if sorted(theirs) != sorted(class_names):
        raise DataError(
            f"{where} is of the classes {', '.join(theirs)}, but the data set has {', '.join(class_names)}. Use a set "
            "of the same classes."
        )
    return np.array([list(theirs).index(name) for name in class_names])


def _read_folder(folder: Path, class_names: Sequence[str], reading: Reading) -> ForeignSet:
    """Return pictures with the labels of `labels.csv`, or with the classes that their folders are named by."""
    if (folder / LABELS_FILE).is_file():
        try:
            paths, theirs, listed = read_labels_file(folder)
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{folder / LABELS_FILE}: cannot be used: {' '.join(str(error).split())}.") from None
        labels, note = _labels(listed, class_names, theirs, str(folder / LABELS_FILE))
    else:
        found = [path for path in sorted(folder.glob("*/*")) if path.name.lower().endswith(SUFFIXES)]
        paths, note = found, ""
        labels = numbers_of(np.array([path.parent.name for path in found]), class_names, str(folder))
    if not paths:
        raise DataError(f"{folder}: holds no folders of pictures, and no {LABELS_FILE}.")
    images = read_pictures(folder, {"train": paths}, reading.size, reading.fit, lambda done, total: None)["train"]
    return ForeignSet(images, labels, False, notes=tuple(filter(None, [note])))
