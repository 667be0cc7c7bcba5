import subprocess
import sys

import numpy as np
import pytest
from sklearn.datasets import load_digits

from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import EnvironmentSetupError


def test_split_and_values():
    dataset, source = load_dataset("digits"), load_digits()
    assert (len(dataset.train), len(dataset.test)) == (1297, 500)
    assert dataset.image_shape == (8, 8, 1)
    assert dataset.train.images.dtype == np.uint8
    images = np.concatenate([dataset.train.images, dataset.test.images])[..., 0]
    np.testing.assert_allclose(images, source.images * 255 / 16, atol=0.5)
    assert (images.min(), images.max()) == (0, 255)
    np.testing.assert_array_equal(np.concatenate([dataset.train.labels, dataset.test.labels]), source.target)


def test_every_class_is_in_both_splits():
    dataset = load_dataset("digits")
    for split in (dataset.train, dataset.test):
        assert split.labels.dtype == np.int64
        assert np.bincount(split.labels, minlength=10).min() >= 40


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EnvironmentSetupError, match="pip install scikit-learn"):
        load_dataset("digits")


def test_reading_imports_nothing_slow():
    slow = ("sklearn", "scipy.stats", "scipy.ndimage", "jax", "matplotlib")
    program = f"""
import sys
from hpcdistill.data import augment
from hpcdistill.data.readers import load_dataset
load_dataset("digits")
sys.exit(", ".join(m for m in {slow} if m in sys.modules) or 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
