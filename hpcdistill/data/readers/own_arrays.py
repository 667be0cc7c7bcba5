"""Checks of single arrays in users' own data. `where` names the file and the key in the messages."""

from __future__ import annotations

import numpy as np

from hpcdistill.errors import DataError


def check_images(images: np.ndarray, where: str) -> np.ndarray:
    """Check images and bring them to the form every consumer takes.

    Args:
        images: `(n, h, w)` or `(n, h, w, c)`, integers 0…255 or floats.
        where: file and key.

    Returns:
        `(n, h, w, c)`, uint8 for integers and float32 for floats.

    Raises:
        DataError: dimensions, type or values other than that, channels first, NaN or infinity. Not collective.
    """
    if images.ndim not in (3, 4):
        raise DataError(f"{where} must be (n, h, w) or (n, h, w, c), it is {images.shape}. Reshape it.")
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if _has_channels_first(images.shape):
        raise DataError(f"{where} of shape {images.shape} has its channels first. Store them last: (n, h, w, c).")
    if images.dtype.kind in "iu":
        return _to_uint8(images, where)
    if images.dtype.kind == "f":
        return _to_float32(images, where)
    raise DataError(f"{where} is of type {images.dtype}. Store uint8 (0…255) or floating-point values.")


def _has_channels_first(shape: tuple[int, ...]) -> bool:
    """Return whether `(n, a, b, c)` can only be `(n, channels, h, w)`.

    That is where b and c are equal and larger than a, or where a is at most four and the others are larger.
    """
    _, first, height, width = shape
    return width > 4 and (first < height == width or first <= 4 < height)


def check_labels(labels: np.ndarray, where: str) -> np.ndarray:
    """Check that labels are `(n,)` integers, none of them negative, and return them.

    Raises:
        DataError: other dimensions, another type, or a negative label. Not collective.
    """
    if labels.ndim != 1:
        raise DataError(f"{where} must be (n,), it is {labels.shape}. Store one class number per image.")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{where} must be integers, it is of type {labels.dtype}. Convert it to int64.")
    negative = np.flatnonzero(labels < 0)
    if negative.size:
        raise DataError(
            f"{where} has {negative.size} negative label(s), the first, {labels[negative[0]]}, at index {negative[0]}. "
            "Number the classes 0…k-1."
        )
    return labels


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
