import numpy as np
from sklearn.datasets import load_digits

from hpcdistill.data.readers import load_dataset


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
