"""Checks that every reader shares."""

from __future__ import annotations

import numpy as np

from hpcdistill.data.dataset import Split
from hpcdistill.errors import DataError


def make_split(images: np.ndarray, labels: np.ndarray, n_classes: int, where: str) -> Split:
    """Check images against labels and put them into a `Split`.

    Args:
        images: `(n, h, w, c)`, uint8 or float32.
        labels: `(n,)`, any integer type.
        n_classes: number of classes.
        where: the file or files, for the messages.

    Returns:
        The split; its arrays are writable and C-contiguous, the labels int64.

    Raises:
        DataError: counts differ, no images, or a label outside 0…n_classes-1. Not collective.
    """
    if len(images) != len(labels):
        raise DataError(f"{where}: {len(images)} images but {len(labels)} labels. They do not belong together.")
    if images.size == 0:
        raise DataError(f"{where}: empty, images have shape {images.shape}. At least one image per split is needed.")
    wrong = np.flatnonzero((labels < 0) | (labels >= n_classes))
    if wrong.size:
        raise DataError(
            f"{where}: label {labels[wrong[0]]} at index {wrong[0]} is outside 0…{n_classes - 1} "
            f"({wrong.size} such labels). The file is damaged or of another data set."
        )
    return Split(np.require(images, requirements=["C", "W"]), labels.astype(np.int64))


def display_range(where: str, images: np.ndarray) -> tuple[float, float]:
    """Return the raw values shown as black and as white; `DataError` where all images are of a single value."""
    low, high = float(images.min()), float(images.max())
    if low == high:
        raise DataError(f"{where}: every pixel is {low}. There is nothing to learn from; check the export.")
    return (0.0, 255.0) if images.dtype == np.uint8 else (low, high)
