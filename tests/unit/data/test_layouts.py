"""The layouts in which image sets are handed around are read as they are, to the same arrays."""

import h5py
import numpy as np
import pytest
from check_data import assert_split

from hpcdistill.data.readers import load_dataset
from hpcdistill.data.readers.reading import Reading
from hpcdistill.errors import DataError

LABELS = np.array([0, 1, 2, 0, 1, 2, 2, 1])
IMAGES = np.random.default_rng(0).integers(0, 256, (8, 6, 6, 3), np.uint8)
TRAIN, VALIDATION, TEST = slice(0, 4), slice(4, 6), slice(6, 8)
NAMES = ("cat", "dog", "owl")
ONE_HOT = np.eye(3)[LABELS]


def splits(*keys, labels=LABELS):
    """Arrays under the names of images and labels of each split."""
    arrays = {}
    for (images_key, labels_key), split in zip(keys, (TRAIN, TEST, VALIDATION), strict=False):
        arrays |= {images_key: IMAGES[split], labels_key: labels[split]}
    return arrays


LAYOUTS = {
    "keras": splits(("x_train", "y_train"), ("x_test", "y_test")),
    "upper case": splits(("X_train", "Y_train"), ("X_test", "Y_test"), ("X_val", "Y_val")),
    "medmnist": splits(("train_images", "train_labels"), ("test_images", "test_labels"), ("val_images", "val_labels"),
                       labels=LABELS[:, np.newaxis]),
    "own": splits(("images", "labels"), ("test_images", "test_labels"), ("valid_images", "valid_labels")),
    "data and target": splits(("data", "target"), ("test_data", "test_target")),
    "x and y": splits(("x", "y"), ("x_test", "y_test")),
    "one-hot": splits(("images", "labels"), ("test_images", "test_labels"), labels=ONE_HOT),
    "whole floats": splits(("images", "labels"), ("test_images", "test_labels"), labels=LABELS.astype(float)),
}  # fmt: skip


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_layout(tmp_path, name, suffix):
    path = tmp_path / f"own.{suffix}"
    if suffix == "npz":
        np.savez(path, **LAYOUTS[name])
    else:
        with h5py.File(path, "w") as file:
            file.update(LAYOUTS[name])
    dataset = load_dataset(str(path))
    held_out = 2 if len(LAYOUTS[name]) == 6 else 0
    assert_split(dataset.train, IMAGES[: 4 + held_out], LABELS[: 4 + held_out])
    assert_split(dataset.test, IMAGES[TEST], LABELS[TEST])
    assert (dataset.validation, dataset.n_train, dataset.notes) == (held_out, 4, ())
    assert dataset.class_names == ("0", "1", "2")
    keys = list(LAYOUTS[name])
    assert dataset.understood[0].startswith(f"training: images {keys[0]!r} (4, 6, 6, 3) uint8, labels {keys[1]!r} (4,")


def test_groups_of_an_hdf5_file(tmp_path):
    with h5py.File(tmp_path / "own.h5", "w") as file:
        file["train/images"], file["train/labels"] = IMAGES[TRAIN], LABELS[TRAIN]
        file["test/images"], file["test/labels"] = IMAGES[TEST], LABELS[TEST]
        file["meta/version"] = 3
    dataset = load_dataset(str(tmp_path / "own.h5"))
    assert_split(dataset.train, IMAGES[TRAIN], LABELS[TRAIN])
    assert_split(dataset.test, IMAGES[TEST], LABELS[TEST])
    assert dataset.notes == (f"{tmp_path}/own.h5 also has 'meta/version', which is not used",)


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_text_labels_name_the_classes(tmp_path, dtype):
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.array(NAMES, dtype)[LABELS])
    dataset = load_dataset(str(tmp_path / "own.npz"))
    assert dataset.class_names == NAMES
    assert_split(dataset.train, IMAGES, LABELS)


def test_text_labels_that_are_numbers_are_in_order_of_these(tmp_path):
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=np.array(["9", "10", "100"])[LABELS])
    assert load_dataset(str(tmp_path / "own.npz")).class_names == ("9", "10", "100")


def test_text_labels_and_names_in_an_order_of_their_own(tmp_path):
    labels = np.array(NAMES)[LABELS]
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=labels, class_names=NAMES[::-1])
    dataset = load_dataset(str(tmp_path / "own.npz"))
    assert dataset.class_names == NAMES[::-1]
    assert_split(dataset.train, IMAGES, 2 - LABELS)


@pytest.mark.parametrize("channels", [1, 2, 3, 13])
def test_channels_first_are_recognised_and_said(tmp_path, channels):
    images = np.random.default_rng(0).integers(0, 256, (8, 14, 14, channels), np.uint8)
    np.savez(tmp_path / "own.npz", images=np.moveaxis(images, 3, 1), labels=LABELS)
    dataset = load_dataset(str(tmp_path / "own.npz"))
    assert_split(dataset.train, images, LABELS)
    assert dataset.notes == (f"{tmp_path}/own.npz: 'images' of shape (8, {channels}, 14, 14) has its channels first",)


def test_what_cannot_be_told_is_said_by_settings(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 20, 20, 20), np.uint8)
    np.savez(tmp_path / "own.npz", a=images, b=LABELS, c=LABELS)
    path = str(tmp_path / "own.npz")
    first = load_dataset(path, None, Reading("a", "b", "nchw"))
    assert_split(first.train, np.moveaxis(images, 1, 3), LABELS)
    assert_split(load_dataset(path, None, Reading("a", "b", "nhwc")).train, images, LABELS)
    assert first.notes == (f"{path} also has 'c', which is not used",)
    with pytest.raises(DataError, match="data.images='d', but the file has 'a', 'b', 'c'"):
        load_dataset(path, None, Reading("d", "b"))


def test_images_along_the_last_axis(tmp_path):
    """As MATLAB has them, with labels from 1."""
    np.savez(tmp_path / "own.npz", X=np.moveaxis(IMAGES, 0, -1), y=LABELS + 1)
    path = str(tmp_path / "own.npz")
    with pytest.raises(DataError, match=r"8 images along the last axis.* data.axes=hwcn"):
        load_dataset(path)
    found = load_dataset(path, None, Reading(axes="hwcn"))
    assert_split(found.train, IMAGES, LABELS)
    assert found.class_names == ("1", "2", "3")
    assert found.notes == (f"{path}: labels are counted from 1 to 3",)
    np.savez(tmp_path / "grey.npz", X=np.moveaxis(IMAGES[..., 0], 0, -1), y=LABELS)
    grey = load_dataset(str(tmp_path / "grey.npz"), None, Reading(axes="hwcn"))
    assert_split(grey.train, IMAGES[..., :1], LABELS)


def test_labels_from_one_with_names(tmp_path):
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=LABELS + 1, class_names=np.array(NAMES),
             test_images=IMAGES[:2], test_labels=LABELS[:2] + 1)  # fmt: skip
    found = load_dataset(str(tmp_path / "own.npz"))
    assert_split(found.train, IMAGES, LABELS)
    assert_split(found.test, IMAGES[:2], LABELS[:2])
    assert found.class_names == NAMES
    np.savez(tmp_path / "own.npz", images=IMAGES, labels=LABELS + 1, test_images=IMAGES[:2], test_labels=[0, 1])
    with pytest.raises(DataError, match="reach 3 but no image has label 0"):
        load_dataset(str(tmp_path / "own.npz"))


def test_bool_is_black_and_white(tmp_path):
    np.savez(tmp_path / "own.npz", images=IMAGES > 100, labels=LABELS)
    assert_split(load_dataset(str(tmp_path / "own.npz")).train, np.where(IMAGES > 100, 255, 0).astype(np.uint8), LABELS)


def test_an_order_that_may_be_another_is_said(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (8, 3, 9, 4), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=LABELS)
    path = str(tmp_path / "own.npz")
    (note,) = load_dataset(path).notes
    assert note == f"{path}: 'images' of shape (8, 3, 9, 4) is taken to have its channels last; else say data.axes=nchw"
    assert load_dataset(path, None, Reading(axes="nhwc")).notes == ()


def test_arrays_of_the_test_split_are_said_by_settings(tmp_path):
    np.savez(tmp_path / "own.npz", a=IMAGES, b=LABELS, c=IMAGES[:3], d=LABELS[:3])
    path = str(tmp_path / "own.npz")
    found = load_dataset(path, None, Reading("a", "b", test_images="c", test_labels="d"))
    assert_split(found.test, IMAGES[:3], LABELS[:3])
    with pytest.raises(DataError, match="no array holds its labels.* say which does with data.test_labels"):
        load_dataset(path, None, Reading("a", "b", test_images="c"))
    with pytest.raises(DataError, match="data.labels and data.test_labels are both 'b'"):
        load_dataset(path, None, Reading("a", "b", test_images="c", test_labels="b"))


def test_an_array_said_to_be_what_its_name_is_not(tmp_path):
    np.savez(tmp_path / "own.npz", x=IMAGES, other=LABELS)
    with pytest.raises(DataError, match=r"training images\?.* \(data.labels is 'x', which looks like images\)"):
        load_dataset(str(tmp_path / "own.npz"), None, Reading(labels="x"))


def test_two_arrays_that_may_be_meant(tmp_path):
    np.savez(tmp_path / "own.npz", images=IMAGES, x=IMAGES, labels=LABELS)
    path = str(tmp_path / "own.npz")
    with pytest.raises(DataError, match="images of the train split may be 'images' or 'x'. Say which with data.images"):
        load_dataset(path)
    assert load_dataset(path, None, Reading(images="x")).notes == (f"{path} also has 'images', which is not used",)


def test_a_test_split_is_made_where_there_is_none(tmp_path):
    labels = np.repeat([0, 1], [30, 10])
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    path = str(tmp_path / "own.npz")
    one, other = (load_dataset(path, None, Reading(test_share=0.2, seed=seed)) for seed in (0, 1))
    assert np.bincount(one.test.labels).tolist() == [6, 2]
    assert np.bincount(one.train.labels).tolist() == [24, 8]
    found = {image.tobytes() for split in (one.train, one.test) for image in split.images}
    assert found == {image.tobytes() for image in images}
    assert not np.array_equal(one.test.images, other.test.images)
    assert "8 of its 40 images, drawn by seed and by class, are kept to test on" in one.notes[0]
    assert load_dataset(path).test is None
