"""What was understood of a data set, in lines to read and images to look at: a misreading is seen at once."""

from __future__ import annotations

import numpy as np

from hpcdistill.data.dataset import Dataset
from hpcdistill.data.preprocess import displayed

#: Classes that are listed one by one, and images of a class in the picture of so many classes at most.
_LISTED, _PER_CLASS, _PICTURED = 20, 10, 10


def describe(dataset: Dataset) -> list[str]:
    """Return lines on splits, shapes, values and classes."""
    height, width, channels = dataset.image_shape
    n_test = len(dataset.test) if dataset.test else 0
    held_out = f", {dataset.validation} validation" if dataset.validation else ""
    images = dataset.train.images
    low, high = dataset.display_range
    values = "0…255" if images.dtype == np.uint8 else f"{low:.4g}…{high:.4g}"
    return [
        f"{dataset.name}: {dataset.n_train} training{held_out} and {n_test} test images of "
        f"{height}×{width}×{channels}, {images.dtype} {values}, {dataset.n_classes} classes",
        *dataset.understood,
        *dataset.notes,
        *_class_lines(dataset),
    ]


def _class_lines(dataset: Dataset) -> list[str]:
    counts = np.bincount(dataset.train.labels[: dataset.n_train], minlength=dataset.n_classes)
    if dataset.n_classes > _LISTED:
        few, many = counts.argmin(), counts.argmax()
        names = dataset.class_names
        return [f"classes have {counts[few]} ({names[few]}) to {counts[many]} ({names[many]}) training images"]
    listed = ", ".join(f"{name}: {count}" for name, count in zip(dataset.class_names, counts, strict=True))
    return [f"training images by class  {listed}"]


def sample(dataset: Dataset) -> tuple[np.ndarray, list[str]]:
    """Return the first training images of each of the first classes, uint8 as they look, and their classes' names."""
    train, names = dataset.train, dataset.class_names
    chosen = [np.flatnonzero(train.labels == k)[:_PER_CLASS] for k in range(min(dataset.n_classes, _PICTURED))]
    indices = np.concatenate(chosen)
    return displayed(train.images[indices], dataset.display_range), [names[k] for k in train.labels[indices]]
