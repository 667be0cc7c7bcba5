"""The 8×8 digits that ship with scikit-learn.

Source: `sklearn.datasets.load_digits`, the test part of the UCI set "Optical recognition of handwritten digits".
"""

from __future__ import annotations

import numpy as np

from hpcdistill.data.dataset import Dataset
from hpcdistill.data.readers.check import make_split
from hpcdistill.data.registry import KnownDataset

N_TRAIN = 1297


def read_digits(known: KnownDataset) -> Dataset:
    """Read the 1,797 digits; the first 1,297 are the training split, the last 500 the test split.

    The values 0…16 become round(v·255/16). Every class is in both splits.

    Args:
        known: the entry of the registry.

    Returns:
        images `(n, 8, 8, 1)` uint8, labels `(n,)` int64. Not collective.
    """
    from sklearn.datasets import load_digits

    source = load_digits()
    images = np.rint(source.images * (255 / 16)).astype(np.uint8)[..., np.newaxis]
    labels, n_classes = source.target, len(known.class_names)
    train = make_split(images[:N_TRAIN], labels[:N_TRAIN], n_classes, known.name)
    test = make_split(images[N_TRAIN:], labels[N_TRAIN:], n_classes, known.name)
    return Dataset(known.name, train, test, known.class_names)
