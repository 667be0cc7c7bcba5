"""What every reader returns and every consumer takes: raw images and integer labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from hpcdistill.digest import sha256_of


@dataclass(frozen=True)
class Split:
    """Images and labels of one split.

    Attributes:
        images: `(n, h, w, c)`, uint8 (0…255) or, for users' own data, float32.
        labels: `(n,)`, int64, `0 ≤ label < n_classes`.
    """

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def joined(self, other: Split) -> Split:
        """Return this split with another one's images after its own."""
        return Split(np.concatenate([self.images, other.images]), np.concatenate([self.labels, other.labels]))

    def sha256(self) -> str:
        """Return a digest of images and labels."""
        return sha256_of(self.images, self.labels)


@dataclass(frozen=True)
class Dataset:
    """A labelled image set.

    Attributes:
        name: as the user named it.
        train: the training split.
        test: the test split, or None where the user's data have none.
        class_names: one per class.
        display_range: raw values shown as black and as white; (0, 255) for uint8 images.
        validation: how many of the training images, the last ones, are a validation split and not for training.
        understood: what was read as what, a line for each split.
        notes: what was taken for granted where the data were read, a line each.
        sha256: `Split.sha256` by name of the split, for those there are; empty until it is needed.
    """

    name: str
    train: Split
    test: Split | None
    class_names: tuple[str, ...]
    display_range: tuple[float, float] = (0.0, 255.0)
    validation: int = 0
    understood: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    sha256: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)` of an image."""
        height, width, channels = self.train.images.shape[1:]
        return height, width, channels

    def with_sha256(self) -> Dataset:
        """Return the same data with the digests of its splits."""
        splits = {"train": self.train} | ({} if self.test is None else {"test": self.test})
        return replace(self, sha256={name: split.sha256() for name, split in splits.items()})

    @property
    def n_train(self) -> int:
        """Number of images for training."""
        return len(self.train) - self.validation

    def split(self, name: str) -> Split:
        """Return the split "train" or "test", which must be there."""
        split = self.train if name == "train" else self.test
        assert split is not None  # asked for only where there is one
        return split

    def with_test_split(self, indices: np.ndarray, note: str) -> Dataset:
        """Return the same data set with some of its images for training as the test split."""
        rest = np.setdiff1d(np.arange(len(self.train)), indices)
        images, labels = self.train.images, self.train.labels
        train, test = (Split(images[chosen], labels[chosen]) for chosen in (rest, indices))
        return replace(self, train=train, test=test, notes=(*self.notes, note))
