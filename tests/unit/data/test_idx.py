import gzip
import zlib
from dataclasses import replace

import numpy as np
import pytest
from check_data import assert_split
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from make_files import MNIST_FILES, idx_bytes, write, write_mnist

from hpcdistill.data.readers import load_dataset
from hpcdistill.data.readers.idx import read_idx
from hpcdistill.data.registry import KNOWN

TRAIN_IMAGES, TRAIN_LABELS = MNIST_FILES["train"]
TEST_IMAGES, TEST_LABELS = MNIST_FILES["test"]


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_reads_official_files(tmp_path, name, gz):
    splits = write_mnist(tmp_path / name, gz)
    dataset = load_dataset(name, tmp_path)
    for split, key in ((dataset.train, "train"), (dataset.test, "test")):
        images, labels = splits[key]
        assert_split(split, images[..., None], labels)
    assert dataset.name == name
    assert dataset.class_names == KNOWN[name].class_names
    assert dataset.n_classes == 10
    assert dataset.image_shape == (5, 7, 1)
    assert dataset.display_range == (0.0, 255.0)


def test_gzip_is_known_by_content_not_by_name(tmp_path):
    write_mnist(tmp_path)
    packed = (tmp_path / TRAIN_IMAGES).read_bytes()
    (tmp_path / TRAIN_IMAGES).write_bytes(gzip.compress(packed))
    assert len(load_dataset("mnist", tmp_path).train) == 23


@settings(deadline=None)
@given(st.integers(1, 4).flatmap(lambda n: arrays(np.uint8, array_shapes(min_dims=n, max_dims=n))), st.booleans())
def test_round_trip(tmp_path_factory, array, gz):
    path = write(tmp_path_factory.mktemp("idx") / "array", idx_bytes(array), gz)
    np.testing.assert_array_equal(read_idx(path, array.ndim), array)


@pytest.mark.parametrize("gz", [False, True])
@pytest.mark.parametrize("kept", [0, 3, 11, 20])
def test_truncated_idx(tmp_path, data_error, kept, gz):
    write_mnist(tmp_path, gz)
    path = write(tmp_path / TRAIN_IMAGES, idx_bytes(np.zeros((23, 5, 7), np.uint8))[:kept], gz)
    data_error("mnist", tmp_path, str(path), "truncated IDX file", "etch it again")


@pytest.mark.parametrize("kept", [5, 12, 200])
def test_truncated_gzip(tmp_path, data_error, kept):
    write_mnist(tmp_path, gz=True)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    path.write_bytes(path.read_bytes()[:kept])
    data_error("mnist", tmp_path, str(path), "truncated gzip file")


@pytest.mark.parametrize("position", [2, 40, -6])
def test_damaged_gzip(tmp_path, data_error, position):
    write_mnist(tmp_path, gz=True)
    path = tmp_path / f"{TRAIN_IMAGES}.gz"
    raw = bytearray(path.read_bytes())
    raw[position] ^= 0xFF
    path.write_bytes(raw)
    data_error("mnist", tmp_path, str(path), "damaged gzip file", "fetch it again")


def test_bytes_after_the_end(tmp_path, data_error):
    write_mnist(tmp_path)
    with (tmp_path / TRAIN_IMAGES).open("ab") as file:
        file.write(b"x")
    data_error("mnist", tmp_path, TRAIN_IMAGES, "bytes after its end", "(23, 5, 7)")


def test_wrong_magic_number(tmp_path, data_error):
    write_mnist(tmp_path)
    write(tmp_path / TRAIN_IMAGES, b"<!DOCTYPE html> not an image file")
    data_error("mnist", tmp_path, TRAIN_IMAGES, "wrong magic number", "0x00000803 is expected")


def test_images_and_labels_exchanged(tmp_path, data_error):
    write_mnist(tmp_path)
    write(tmp_path / TRAIN_LABELS, (tmp_path / TRAIN_IMAGES).read_bytes())
    data_error("mnist", tmp_path, TRAIN_LABELS, "wrong magic number 0x00000803", "exchanged")


def test_counts_differ(tmp_path, data_error):
    write_mnist(tmp_path)
    write(tmp_path / TEST_LABELS, idx_bytes(np.zeros(9, np.uint8)))
    data_error("mnist", tmp_path, TEST_LABELS, "11 images but 9 labels")


def test_label_out_of_range(tmp_path, data_error):
    _, labels = write_mnist(tmp_path)["train"]
    labels[[4, 9]] = 10
    write(tmp_path / TRAIN_LABELS, idx_bytes(labels))
    data_error("mnist", tmp_path, TRAIN_LABELS, "label 10 at index 4 is outside 0…9", "2 such labels")


def test_empty_split(tmp_path, data_error):
    write_mnist(tmp_path)
    write(tmp_path / TEST_IMAGES, idx_bytes(np.zeros((0, 5, 7), np.uint8)))
    write(tmp_path / TEST_LABELS, idx_bytes(np.zeros(0, np.uint8)))
    data_error("mnist", tmp_path, TEST_IMAGES, "empty")


def test_shapes_of_splits_differ(tmp_path, data_error):
    write_mnist(tmp_path)
    write(tmp_path / TEST_IMAGES, idx_bytes(np.zeros((11, 5, 6), np.uint8)))
    data_error("mnist", tmp_path, "(5, 7, 1)", "(5, 6, 1)", "do not belong together")


def test_labels_of_another_data_set(tmp_path, data_error, monkeypatch):
    """MNIST and Fashion-MNIST have the same file names."""
    _, labels = write_mnist(tmp_path)["test"]
    mnist = replace(KNOWN["mnist"], label_crc32=frozenset({zlib.crc32(labels.tobytes())}))
    monkeypatch.setitem(KNOWN, "mnist", mnist)
    assert len(load_dataset("mnist", tmp_path).train) == 23
    data_error("fashion-mnist", tmp_path, TEST_LABELS, "holds the labels of mnist, not of fashion-mnist")
