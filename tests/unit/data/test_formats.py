"""A file is what its content is, whatever its name says."""

import shutil

import h5py
import numpy as np
import pytest
from check_data import assert_split

from hpcdistill.data.readers import load_dataset
from hpcdistill.data.readers.distilled import read_distilled
from hpcdistill.data.readers.formats import format_of
from hpcdistill.errors import DataError
from hpcdistill.torch_file import write_torch

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)
LABELS = np.arange(6) % 2


def write(path, kind):
    """Write a data set of a kind under any name."""
    with path.open("wb") as file:
        if kind == "npz":
            np.savez(file, images=IMAGES, labels=LABELS)
        elif kind == "torch":
            write_torch(file, {"images": IMAGES, "labels": LABELS})
        else:
            with h5py.File(file, "w", userblock_size=0 if kind == "hdf5" else 512) as made:
                made["images"], made["labels"] = IMAGES, LABELS
    return path


KINDS = ["npz", "torch", "hdf5", "hdf5 after a block"]


@pytest.mark.parametrize("name", ["data.npz", "data.h5", "data.pt", "data.bin", "data"])
@pytest.mark.parametrize("kind", KINDS)
def test_content_tells(tmp_path, kind, name):
    assert_split(load_dataset(str(write(tmp_path / name, kind))).train, IMAGES, LABELS)


@pytest.mark.parametrize("kind", KINDS[:2])
def test_content_tells_of_distilled_sets(tmp_path, kind):
    found = read_distilled(write(tmp_path / "set.data", kind), ["0", "1"])
    np.testing.assert_array_equal(found.images, IMAGES)


@pytest.mark.parametrize("name", ["data.npz", "data.h5", "data.pt"])
def test_of_a_file_that_tells_nothing_the_suffix_does(tmp_path, name):
    (tmp_path / name).write_bytes(b"no arrays")
    assert (tmp_path / name).suffix in format_of(tmp_path / name).suffixes


def test_a_file_of_no_kind(tmp_path):
    (tmp_path / "data.bin").write_bytes(b"no arrays")
    with pytest.raises(DataError, match=r"data\.bin: is no file of arrays .* Valid: an \.npz of NumPy, .*HDF5"):
        load_dataset(str(tmp_path / "data.bin"))
    shutil.make_archive(str(tmp_path / "other"), "zip", tmp_path, "data.bin")
    with pytest.raises(DataError, match=r"other\.zip: is no file of arrays"):
        load_dataset(str(tmp_path / "other.zip"))
