import io
import zipfile

import h5py
import numpy as np
import pytest
from check_data import assert_split

from hpcdistill.data.readers import load_dataset

SUFFIXES = ["npz", "h5", "hdf5"]
LABELS = np.array([0, 1, 2, 0, 1, 2, 2])
IMAGES = np.random.default_rng(0).integers(0, 256, (7, 5, 6, 3), np.uint8)


def save(path, **arrays):
    if path.suffix == ".npz":
        np.savez_compressed(path, **arrays)
        return path
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


@pytest.fixture(params=SUFFIXES)
def path(request, tmp_path):
    return tmp_path / f"own.{request.param}"


def test_uint8_with_test_split_and_names(path):
    save(
        path, images=IMAGES, labels=LABELS, test_images=IMAGES[:2], test_labels=LABELS[:2], class_names=["a", "b", "ç"]
    )
    dataset = load_dataset(str(path))
    assert_split(dataset.train, IMAGES, LABELS)
    assert_split(dataset.test, IMAGES[:2], LABELS[:2])
    assert dataset.class_names == ("a", "b", "ç")
    assert dataset.name == path.name
    assert dataset.display_range == (0.0, 255.0)


def test_grey_without_test_split(path):
    save(path, images=IMAGES[..., 0], labels=LABELS.astype(np.uint16))
    dataset = load_dataset(str(path), root="/nowhere")
    assert_split(dataset.train, IMAGES[..., :1], LABELS)
    assert dataset.test is None
    assert dataset.class_names == ("0", "1", "2")


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_floats_become_float32(path, dtype):
    images = (IMAGES / 64 - 1.5).astype(dtype)
    save(path, images=images, labels=LABELS)
    dataset = load_dataset(str(path))
    assert_split(dataset.train, images.astype(np.float32), LABELS)
    assert dataset.display_range == (images.min(), images.max())


@pytest.mark.parametrize("dtype", ["int8", "int16", "uint16", "int64", "uint64"])
def test_integers_become_uint8(path, dtype):
    images = (IMAGES // 2).astype(dtype)
    save(path, images=images, labels=LABELS)
    assert_split(load_dataset(str(path)).train, IMAGES // 2, LABELS)


def test_home_directory_and_upper_case(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    np.savez((tmp_path / "own.NPZ").open("wb"), images=IMAGES, labels=LABELS)
    assert len(load_dataset("~/own.NPZ").train) == 7


def with_value(value, index=(3, 0, 1, 2)):
    images = IMAGES.astype(np.float32)
    images[index] = value
    return images


DEFAULT = {"images": IMAGES, "labels": LABELS}
TEST = {"test_images": IMAGES, "test_labels": LABELS}
BAD = {
    "nan": ({"images": with_value(np.nan)}, ["'images' has 1 NaN or infinite pixel", "first at index (3, 0, 1, 2)"]),
    "inf": ({"images": with_value(-np.inf, 5)}, ["has 90 NaN or infinite", "(5, 0, 0, 0)"]),
    "inf-test": ({**TEST, "test_images": with_value(np.inf)}, ["'test_images' has 1 NaN or infinite pixel"]),
    "too-large-for-float32": ({"images": with_value(0).astype(np.float64) * 1e300}, ["NaN or infinite"]),
    "integer-range": ({"images": IMAGES.astype(int) - 3}, ["'images' is int64 with values -3…", "within 0…255"]),
    "complex": ({"images": IMAGES * 1j}, ["'images' is of type complex128"]),
    "ndim": ({"images": IMAGES[0, 0]}, ["'images' must be (n, h, w)", "(6, 3)"]),
    "flat": ({"images": IMAGES.reshape(7, -1)}, ["'images' must be (n, h, w)", "(7, 90)"]),
    "axes": (
        {"images": np.zeros((7, 20, 20, 20), np.uint8)},
        ["which axis is that of channels?", "data.axes=nhwc"],
    ),
    "constant": ({"images": np.full((7, 5, 6), 4.0)}, ["'images': every pixel is 4.0"]),
    "empty": ({"images": IMAGES[:0], "labels": LABELS[:0]}, ["empty", "(0, 5, 6, 3)"]),
    "no-pixels": ({"images": IMAGES[:, :0]}, ["empty", "(7, 0, 6, 3)"]),
    "empty-test": ({"test_images": IMAGES[:0], "test_labels": LABELS[:0]}, ["'test_images'", "empty"]),
    "counts": ({"labels": LABELS[:6]}, ["7 images but 6 labels"]),
    "counts-test": ({**TEST, "test_labels": LABELS[:6]}, ["'test_images', 'test_labels': 7 images but 6 labels"]),
    "negative": ({"labels": LABELS - 1}, ["'labels' has 2 negative label(s), the first, -1, at index 0"]),
    "float-labels": ({"labels": LABELS + 0.5}, ["'labels' must be whole numbers or names, it is of type float64"]),
    "soft-labels": ({"labels": np.full((7, 3), 1 / 3)}, ["'labels' of shape (7, 3) is not one-hot: row 0"]),
    "label-ndim": ({"labels": LABELS[:, None, None]}, ["'labels' must be (n,), it is (7, 1, 1)"]),
    "unknown-name": (
        {"labels": LABELS.astype("S1"), "test_images": IMAGES, "test_labels": (LABELS + 1).astype("S1")},
        ["'test_labels' has the class '3', which is none of 0, 1, 2"],
    ),
    "label-scalar": ({"labels": np.int64(3)}, ["'labels' must be (n,), it is ()"]),
    "gap": ({"labels": LABELS * 2}, ["'labels' reach 4 but no image has label 1"]),
    "from two": ({"labels": LABELS + 2}, ["'labels' reach 4 but no image has label 0"]),
    "huge-label": ({"labels": LABELS * 10**17}, ["no image has label 1"]),
    "one-class": ({"labels": LABELS * 0}, ["single class"]),
    "new-test-class": (
        {**TEST, "test_labels": LABELS + 1},
        ["'test_labels' has the class 3, of which there is no"],
    ),
    "few-names": (
        {"class_names": ["a", "b"]},
        ["the class 2, of which there is no name in 'class_names'"],
    ),
    "many-names": ({"class_names": ["a", "b", "c", "d"]}, ["class 3 (d) has no training image"]),
    "names-twice": ({"class_names": ["a", "b", "a"]}, ["2 classes are called 'a'"]),
    "names-of-two-lines": ({"class_names": ["a", "b\nc", "d"]}, ["the name of a class is 'b\\nc'"]),
    "names-type": ({"class_names": [1.0, 2.0, 3.0]}, ["'class_names' must be text (k,)"]),
    "test-shape": ({**TEST, "test_images": IMAGES[:, :4]}, ["(5, 6, 3) but test images (4, 6, 3)"]),
    "test-type": ({**TEST, "test_images": IMAGES / 255}, ["uint8 but test images float32"]),
    "no-test-labels": (
        {"test_images": IMAGES},
        [
            "'test_images' seems to belong to the test split",
            "no array holds its labels",
            "'images', 'labels', 'test_images'",
        ],
    ),
    "no-test-images": ({"test_labels": LABELS}, ["no array holds its images"]),
}


@pytest.mark.parametrize("suffix", ["npz", "h5"])
@pytest.mark.parametrize("case", BAD)
def test_bad_content(tmp_path, data_error, case, suffix):
    arrays, parts = BAD[case]
    path = save(tmp_path / f"own.{suffix}", **{**DEFAULT, **arrays})
    data_error(path, None, str(path), *parts)


def test_missing_key_lists_all_that_exist(path, data_error):
    save(path, a=IMAGES, labels=LABELS)
    message = data_error(path, None, str(path), "which array holds the training images? The file has 'a', 'labels'")
    assert 'data.images = "NAME"' in message


def test_not_such_a_file(path, data_error):
    for content in (b"", b"some text", b"PK\x03\x04 not a zip file", b"\x89HDF\r\n\x1a\n"):
        path.write_bytes(content)
        data_error(path, None, str(path), "not a readable")


def test_truncated(path, data_error):
    raw = save(path, **DEFAULT).read_bytes()
    for kept in (len(raw) // 4, len(raw) // 2, len(raw) - 5):
        path.write_bytes(raw[:kept])
        data_error(path, None, str(path), "not a readable")


def test_missing_directory_and_no_permission(path, data_error, unprivileged):
    data_error(path, None, str(path), "no such file")
    path.touch()
    path.chmod(0)
    with unprivileged():
        data_error(path, None, str(path), "no permission")
    path.unlink()
    path.mkdir()
    data_error(path, None, str(path), "is a directory")


def test_object_array_in_npz(tmp_path, data_error):
    path = tmp_path / "own.npz"
    np.savez(path, images=np.array([IMAGES[0], IMAGES[1, :2]], dtype=object), labels=LABELS)
    data_error(path, None, str(path), "'images' is an object array")


def test_npz_members(tmp_path, data_error):
    """A member that is no array, one that is damaged, and a single array under the wrong suffix."""
    path = tmp_path / "own.npz"
    good = io.BytesIO()
    np.save(good, IMAGES)
    for content in (b"text", good.getvalue()[:-9], good.getvalue()[:20]):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("images.npy", content)
            archive.writestr("labels.npy", content)
        data_error(path, None, str(path))
    path.write_bytes(good.getvalue())
    data_error(path, None, str(path), "not a readable .npz file")


def test_hdf5_objects(tmp_path, data_error):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file.create_group("images")
        file["labels"] = LABELS
    data_error(path, None, str(path), "which array holds the training images? The file has 'labels'")
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (2,), dtype=h5py.vlen_dtype(np.uint8))
        file["labels"] = LABELS
    data_error(path, None, str(path), "'images' is an object array")
    with h5py.File(path, "w") as file:
        file["images"] = h5py.Empty("f4")
        file["labels"] = LABELS
    data_error(path, None, str(path), "'images' is an object array or empty")


def test_hdf5_larger_than_memory(tmp_path, data_error):
    path = tmp_path / "own.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("images", (2**40, 2**10, 2**10), np.uint8, chunks=(1, 8, 8))
        file["labels"] = LABELS
    data_error(path, None, str(path), "'images' of shape (1099511627776, 1024, 1024) has only 0 bytes in the file")
