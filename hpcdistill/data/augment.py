"""Augmentation of target images: rotated, shifted, mirrored, tinted, each image by itself. Not collective.

It acts on raw images, before any preprocessing. What happens to an image is a function of the seed, the step and the
image's place in the batch, so that it depends neither on the number of ranks nor on the rows a rank is asked for.

Source: appendix on experimental details of arXiv:2107.13034.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcdistill.data.sampling import augmentation_generator


@dataclass(frozen=True)
class Augmentation:
    """How far images may be changed; 0 or False means not at all.

    Attributes:
        rotation: largest angle, in degrees, either way.
        shift: largest shift along each axis, as a fraction of the image's side.
        flip: whether half of the images are mirrored, left to right.
        channel_shift: largest change of a channel's values, as a fraction of the display range.
        unchanged: fraction of the images, on average, that is left as it is.
        display_range: raw values of black and white; what is brighter or darker after a channel shift is clipped.
    """

    rotation: float
    shift: float
    flip: bool
    channel_shift: float
    unchanged: float
    display_range: tuple[float, float]

    @property
    def changes_nothing(self) -> bool:
        """Whether every image stays as it is."""
        return not (self.rotation or self.shift or self.flip or self.channel_shift) or self.unchanged == 1

    def draw(self, count: int, n_channels: int, seed: int, step: int) -> Changes:
        """Return what happens to each of the `count` images of a step's batch."""
        rng, (low, high) = augmentation_generator(seed, step), self.display_range
        changed = rng.random(count) >= self.unchanged
        either_way = rng.uniform(-1, 1, (count, 3 + n_channels)) * changed[:, None]
        return Changes(
            angles=np.deg2rad(self.rotation) * either_way[:, 0],
            shifts=self.shift * either_way[:, 1:3],
            mirrored=(rng.random(count) < 0.5) & changed & self.flip,
            offsets=self.channel_shift * (high - low) * either_way[:, 3:],
            display_range=self.display_range,
        )


@dataclass(frozen=True)
class Changes:
    """What happens to each image of a batch.

    Attributes:
        angles: (count,), radians, counterclockwise.
        shifts: (count, 2), down and to the right, as fractions of height and width.
        mirrored: (count,), bool.
        offsets: (count, channels), added to raw values.
    """

    angles: np.ndarray
    shifts: np.ndarray
    mirrored: np.ndarray
    offsets: np.ndarray
    display_range: tuple[float, float]

    def apply(self, images: np.ndarray, start: int) -> np.ndarray:
        """Return raw images `(m, h, w, c)` changed, as float64; they are rows `start…` of the batch.

        Rotation and shift resample bilinearly; beyond the border the nearest pixel counts.
        """
        rows = slice(start, start + len(images))
        mirrored, angles, shifts = self.mirrored[rows], self.angles[rows], self.shifts[rows]
        flipped = images.copy()
        flipped[mirrored] = images[mirrored, :, ::-1]
        changed = flipped.astype(np.float64)
        for i in np.nonzero((angles != 0) | shifts.any(axis=1))[0]:
            _move(changed[i], angles[i], shifts[i])
        brighter = self.offsets[rows].any(axis=1)
        changed[brighter] = np.clip(changed[brighter] + self.offsets[rows][brighter, None, None], *self.display_range)
        return changed


def _move(image: np.ndarray, angle: float, shift: np.ndarray) -> None:
    """Rotate an image `(h, w, c)` about its centre and shift it, in place."""
    from scipy.ndimage import affine_transform  # here: it takes a third of a second, and most runs augment nothing

    side = np.array(image.shape[:2])
    centre = (side - 1) / 2
    back = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    offset = centre - back @ (centre + shift * side)
    for k in range(image.shape[2]):
        image[..., k] = affine_transform(image[..., k], back, offset, order=1, mode="nearest")
