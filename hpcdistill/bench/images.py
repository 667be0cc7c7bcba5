"""Images to measure with: random, but as smooth as photographs, and labels. No downloads."""

from __future__ import annotations

import numpy as np

#: Width of the smoothing relative to the side of an image.
_SMOOTHING = 0.08


def natural_images(n: int, shape: tuple[int, int, int], seed: int) -> np.ndarray:
    """Return `n` seeded images `(n, h, w, c)`, float64: smoothed Gaussian noise, standardised per channel.

    Not collective.
    """
    from scipy.ndimage import gaussian_filter

    noise = np.random.default_rng(seed).standard_normal((n, *shape))
    widths = (0.0, _SMOOTHING * shape[0], _SMOOTHING * shape[1], 0.0)
    images = gaussian_filter(noise, widths, mode="reflect")
    images -= images.mean(axis=(0, 1, 2))
    deviation = images.std(axis=(0, 1, 2))
    return images / np.where(deviation > 0, deviation, 1.0)
