import numpy as np
import pytest
from check_data import assert_split
from make_files import write, write_svhn
from scipy.io import savemat

from hpcdistill.data.readers import load_dataset


def test_reads_official_files(tmp_path):
    train, test = write_svhn(tmp_path / "svhn")
    assert 0 in train[1]
    dataset = load_dataset("svhn", tmp_path)
    assert_split(dataset.train, *train)
    assert_split(dataset.test, *test)
    assert dataset.class_names == tuple("0123456789")


PIXELS = np.zeros((32, 32, 3, 12), np.uint8)


@pytest.mark.parametrize(
    ("replaced", "part"),
    [
        ({"y": np.ones((7, 1), np.uint8)}, "12 images but 7 labels"),
        ({"y": np.full((12, 1), 11, np.uint8)}, "label 11 at index 0 is outside 0…9"),
        ({"y": np.full((12, 1), 0.5)}, "'y' must hold integers, it is float64"),
        ({"X": PIXELS[..., 0]}, "'X' must be uint8 (h, w, c, n), it is uint8 (32, 32, 3)"),
        ({"X": PIXELS.astype(float)}, "it is float64"),
        ({"X": PIXELS[..., :0], "y": np.ones((0, 1), np.uint8)}, "empty"),
    ],
)
def test_bad_content(tmp_path, data_error, replaced, part):
    write_svhn(tmp_path, **replaced)
    data_error("svhn", tmp_path, str(tmp_path / "train_32x32.mat"), part)


def test_wrong_keys(tmp_path, data_error):
    write_svhn(tmp_path)
    savemat(tmp_path / "test_32x32.mat", {"images": PIXELS, "y": np.ones((12, 1))})
    data_error("svhn", tmp_path, "test_32x32.mat", "no variable 'X'; it has ['images', 'y']")


@pytest.mark.parametrize("kept", [0, 50, 130, 5000])
def test_truncated(tmp_path, data_error, kept):
    write_svhn(tmp_path)
    path = tmp_path / "train_32x32.mat"
    path.write_bytes(path.read_bytes()[:kept])
    data_error("svhn", tmp_path, str(path))


def test_not_matlab(tmp_path, data_error):
    write_svhn(tmp_path)
    path = write(tmp_path / "train_32x32.mat", b"<html>" * 100)
    data_error("svhn", tmp_path, str(path), "not a readable MATLAB 5 file")
