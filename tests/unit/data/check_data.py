"""What readers' results must be equal to."""

import numpy as np

from hpcdistill.data.dataset import Dataset, Split


def assert_split(split: Split | None, images: np.ndarray, labels: np.ndarray) -> None:
    assert split is not None
    np.testing.assert_array_equal(split.images, images)
    np.testing.assert_array_equal(split.labels, labels)
    assert split.images.dtype == images.dtype
    assert split.labels.dtype == np.int64
    for array in (split.images, split.labels):
        assert array.flags.c_contiguous
        assert array.flags.writeable


def assert_same(first: Dataset, second: Dataset) -> None:
    assert first.class_names == second.class_names
    assert_split(first.train, second.train.images, second.train.labels)
    assert second.test is not None
    assert_split(first.test, second.test.images, second.test.labels)
