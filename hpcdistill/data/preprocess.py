"""Preprocessing: fitted on training images, applied to any, inverted for viewing. Not collective."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

#: Images converted to float64 at a time while fitting.
_FIT_CHUNK = 4096


class Preprocessing(Protocol):
    """What stands between raw images and kernels."""

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return raw images `(n, h, w, c)` of any dtype preprocessed, float64."""
        ...

    def display(self, x: np.ndarray) -> np.ndarray:
        """Return preprocessed images as uint8 to look at."""
        ...

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps of it, by name."""
        ...

    @property
    def standardisation(self) -> Standardisation:
        """What comes first."""
        ...


@dataclass(frozen=True)
class Standardisation:
    """Channel-wise standardisation `(x − mean) / std`.

    Attributes:
        mean, std: `(channels,)` float64, over all pixels of the images it was fitted on; a constant channel has std 1.
        display_range: raw values shown as black and as white.

    Source: arXiv:2107.13034, appendix on experimental details.
    """

    mean: np.ndarray
    std: np.ndarray
    display_range: tuple[float, float]

    def apply(self, images: np.ndarray) -> np.ndarray:
        """Return raw images `(n, h, w, c)` of any dtype standardised, as float64."""
        mean, std = (np.broadcast_to(one, images.shape[1:]).copy() for one in (self.mean, self.std))  # for long loops
        standardised = np.subtract(images, mean, dtype=np.float64)
        standardised /= std
        return standardised

    @property
    def standardisation(self) -> Standardisation:
        """Itself."""
        return self

    def invert(self, x: np.ndarray) -> np.ndarray:
        """Return the raw images, float64 and not rounded, that `apply` takes to `x`."""
        return x * self.std + self.mean

    def display(self, x: np.ndarray) -> np.ndarray:
        """Return preprocessed images as uint8 to look at: inverted, clipped to the display range, 0…255."""
        return displayed(self.invert(x), self.display_range)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what a checkpoint keeps of it, by name."""
        return {"mean": self.mean, "std": self.std, "display_range": np.array(self.display_range)}


def displayed(raw: np.ndarray, display_range: tuple[float, float]) -> np.ndarray:
    """Return raw images as uint8 to look at, clipped to the display range."""
    low, high = display_range
    return np.rint(np.clip((raw - low) * (255.0 / (high - low)), 0, 255)).astype(np.uint8)


def fit_standardisation(images: np.ndarray, indices: np.ndarray, display_range: tuple[float, float]) -> Standardisation:
    """Return the standardisation by mean and standard deviation per channel of `images[indices]`.

    Args:
        images: `(n, h, w, c)` raw images.
        indices: which of them to use, int64; ascending order reads fastest.
        display_range: see `Standardisation`.

    Two passes in float64, so that large means lose no digits.
    """
    n_values = len(indices) * images.shape[1] * images.shape[2]
    chunks = [indices[a : a + _FIT_CHUNK] for a in range(0, len(indices), _FIT_CHUNK)]
    mean = sum(images[chunk].sum(axis=(0, 1, 2), dtype=np.float64) for chunk in chunks) / n_values
    variance = sum(np.square(images[chunk] - mean).sum(axis=(0, 1, 2)) for chunk in chunks) / n_values
    std = np.sqrt(variance)
    low, high = display_range
    if high == low:
        high = low + 1.0
    return Standardisation(np.asarray(mean), np.where(std > 0, std, 1.0), (low, high))


def centred_one_hot(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Return labels `(n,)` as rows `(n, n_classes)`, float64: one-hot minus `1 / n_classes`.

    Source: arXiv:2011.00050, section on experiments.
    """
    y = np.full((len(labels), n_classes), -1.0 / n_classes)
    y[np.arange(len(labels)), labels] += 1.0
    return y
