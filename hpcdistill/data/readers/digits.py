"""The 8×8 digits that ship with scikit-learn.

Source: `sklearn.datasets.load_digits`, the test part of the UCI set "Optical recognition of handwritten digits". Its
file is read here: importing scikit-learn takes a second, as long as all else that a run needs before it starts.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Dataset
from hpcdistill.data.readers.check import make_split
from hpcdistill.data.registry import KnownDataset
from hpcdistill.errors import EnvironmentSetupError

N_TRAIN = 1297


def read_digits(known: KnownDataset) -> Dataset:
    """Read the 1,797 digits; the first 1,297 are the training split, the last 500 the test split.

    The values 0…16 become round(v·255/16). Every class is in both splits.

    Args:
        known: the entry of the registry.

    Returns:
        images `(n, 8, 8, 1)` uint8, labels `(n,)` int64. Not collective.
    """
    table = np.loadtxt(_digits_file(), delimiter=",")
    images = np.rint(table[:, :-1].reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels, n_classes = table[:, -1].astype(np.int64), len(known.class_names)
    train = make_split(images[:N_TRAIN], labels[:N_TRAIN], n_classes, known.name)
    test = make_split(images[N_TRAIN:], labels[N_TRAIN:], n_classes, known.name)
    return Dataset(known.name, train, test, known.class_names)


def _digits_file() -> Path:
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    path = Path(folders[0] if folders else "sklearn") / "datasets" / "data" / "digits.csv.gz"
    if not path.exists():
        raise EnvironmentSetupError(f"{path}: no such file. The digits come with it: pip install scikit-learn")
    return path
