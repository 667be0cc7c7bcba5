"""Single arrays of users' own data, checked and brought to one form. `where` names file and key in the messages."""

from __future__ import annotations

import numpy as np

from hpcdistill.errors import DataError

#: More channels than this are taken for another axis, unless the user says what they are.
_MOST_CHANNELS = 16
#: So many on the first of three axes, or more than so many on the last, may mean that channels come first.
_FEW_CHANNELS = 4


def read_images(images: np.ndarray, where: str, axes: str = "auto") -> tuple[np.ndarray, str]:
    """Check images and bring them to the form every consumer takes.

    Args:
        images: `(n, h, w)`, `(n, h, w, c)`, `(n, c, h, w)` or `(h, w, c, n)`; integers 0…255, floats, or bool.
        where: file and key.
        axes: their order: "nhwc", "nchw", "hwcn", or "auto", which tells the first two by their lengths.

    Returns:
        `(n, h, w, c)`, uint8 for integers and bool (True is 255), float32 for floats; and what was taken
        for granted, "" for nothing.

    Raises:
        DataError: other dimensions, types or values, an order that cannot be told, NaN or infinity. Not collective.
    """
    images, note = channels_last(images, where, axes)
    images = without_bool(images)
    if images.dtype.kind in "iu":
        return _to_uint8(images, where), note
    if images.dtype.kind == "f":
        return _to_float32(images, where), note
    raise DataError(f"{where} is of type {images.dtype}. Store uint8 (0…255) or floating-point values.")


def without_bool(images: np.ndarray) -> np.ndarray:
    """Return images as they are, but bool ones as uint8, True as 255."""
    return images * np.uint8(255) if images.dtype.kind == "b" else images


def channels_last(images: np.ndarray, where: str, axes: str = "auto") -> tuple[np.ndarray, str]:
    """Return images with four axes, channels last, and what was taken for granted; see `read_images`."""
    if images.ndim not in (3, 4):
        raise DataError(f"{where} must be (n, h, w) or (n, h, w, c), it is {images.shape}. Reshape it.")
    if axes == "hwcn":
        images = np.moveaxis(images, -1, 0)
    if images.ndim == 3:
        return images[..., np.newaxis], ""
    if axes == "nchw":
        return np.moveaxis(images, 1, 3), ""
    if axes == "auto" and _has_channels_first(images.shape):
        return np.moveaxis(images, 1, 3), f"{where} of shape {images.shape} has its channels first"
    if axes == "auto" and images.shape[3] > _MOST_CHANNELS:
        raise DataError(
            f"{where} of shape {images.shape}: which axis is that of channels? Say so with data.axes=nhwc or nchw."
        )
    if axes == "auto" and (images.shape[1] <= _FEW_CHANNELS or images.shape[3] > _FEW_CHANNELS):
        return images, f"{where} of shape {images.shape} is taken to have its channels last; else say data.axes=nchw"
    return images, ""


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether `(n, a, b, c)` can only be `(n, channels, h, w)`.

    That is where b and c are equal and larger than a, or where a is at most four and the others are larger.
    """
    _, first, height, width = shape
    return width > _FEW_CHANNELS and (first < height == width or first <= _FEW_CHANNELS < height)


def read_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Bring labels to one per image.

    Args:
        labels: `(n,)`, `(n, 1)` or `(1, n)` whole numbers or names, or `(n, k)` one-hot rows.

    Returns:
        `(n,)`: integers, none of them negative, or text.

    Raises:
        DataError: other dimensions or types, rows that are not one-hot, a negative label. Not collective.
    """
    if labels.ndim == 2 and labels.size == 0:
        raise DataError(f"{where} of shape {labels.shape} is empty. Store one class number per image.")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and len(labels) == 1 and not (labels.dtype.kind in "biuf" and is_one_hot(labels).all()):
        labels = labels[0]  # a row, as MATLAB has it
    elif labels.ndim == 2 and labels.dtype.kind in "biuf" and len(labels):
        labels = _from_one_hot(labels, where)
    if labels.ndim != 1:
        raise DataError(f"{where} must be (n,), it is {labels.shape}. Store one class number per image.")
    if labels.dtype.kind in "US":
        return np.char.decode(labels, errors="replace") if labels.dtype.kind == "S" else labels
    if labels.dtype.kind == "b":
        labels = labels.astype(np.int64)
    if labels.dtype.kind == "f" and np.isfinite(labels).all() and (labels == np.rint(labels)).all():
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where} must be whole numbers or names, it is of type {labels.dtype}. Store class numbers.")
    negative = np.flatnonzero(labels < 0)
    if negative.size:
        raise DataError(
            f"{where} has {negative.size} negative label(s), the first, {labels[negative[0]]}, at index {negative[0]}. "
            "Number the classes 0…k-1."
        )
    return labels


def is_one_hot(labels: np.ndarray) -> np.ndarray:
    """Return for each row of labels `(n, k)` whether it is one 1 among 0s, `(n,)`."""
    return (np.count_nonzero(labels, axis=1) == 1) & (labels.max(axis=1) == 1)


def _from_one_hot(labels: np.ndarray, where: str) -> np.ndarray:
    wrong = np.flatnonzero(~is_one_hot(labels))
    if wrong.size:
        raise DataError(
            f"{where} of shape {labels.shape} is not one-hot: row {wrong[0]} is not one 1 among 0s. Store one class "
            "number per image."
        )
    return labels.argmax(axis=1)


def _to_uint8(images: np.ndarray, where: str) -> np.ndarray:
    if images.dtype != np.uint8 and images.size and (images.min() < 0 or images.max() > 255):
        raise DataError(
            f"{where} is {images.dtype} with values {images.min()}…{images.max()}. Integers must be within 0…255; "
            "store other ranges as float32."
        )
    return images.astype(np.uint8, copy=False)


def _to_float32(images: np.ndarray, where: str) -> np.ndarray:
    with np.errstate(over="ignore"):
        converted = images.astype(np.float32, copy=False)
    finite = np.isfinite(converted)
    if not finite.all():
        first = tuple(int(index) for index in np.unravel_index(np.argmin(finite), finite.shape))
        raise DataError(
            f"{where} has {finite.size - np.count_nonzero(finite)} NaN or infinite pixel(s) in float32, "
            f"the first at index {first} (n, h, w, c). Replace them or leave these images out."
        )
    return converted
