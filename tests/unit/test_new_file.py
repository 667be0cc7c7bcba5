"""HDF5 files on a disk that fails: one error, raised when HDF5 has ended in peace, and nothing left behind."""

import errno
import os

import h5py
import numpy as np
import pytest

from hpcdistill.hdf5.deflate import pack, unpack
from hpcdistill.hdf5.new_file import NewFile, whole_hdf5
from hpcdistill.whole_file import is_full, remove_leftovers, temporary_name

ARRAY = np.random.default_rng(0).normal(size=(300, 50))


@pytest.fixture
def small(monkeypatch):
    """Returns a function after which files cannot grow beyond so many bytes."""

    def limit(size):
        write = os.pwrite

        def bounded(descriptor, content, at):
            if at >= size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(descriptor, bytes(content)[: size - at], at)

        monkeypatch.setattr(os, "pwrite", bounded)

    return limit


def write_all(file):
    for number in range(20):
        file[f"group{number}/array"] = ARRAY
        file.attrs[f"attribute{number}"] = "x" * 100
    file.create_dataset("packed", data=ARRAY, chunks=(7, 8), compression="gzip", shuffle=True)


@pytest.mark.parametrize("how", [{}, {"libver": ("v110", "v110")}])
def test_it_is_what_hdf5_writes(tmp_path, how):
    with whole_hdf5(tmp_path / "file.h5", **how) as made:
        write_all(made.file)
    with h5py.File(tmp_path / "file.h5") as file:
        assert len(file) == 21
        np.testing.assert_array_equal(file["group19/array"], ARRAY)
        np.testing.assert_array_equal(file["packed"], ARRAY)
    assert [path.name for path in tmp_path.iterdir()] == ["file.h5"]


@pytest.mark.parametrize("size", [0, 50, 1000, 5000, 130_000, 1_000_000, 2_400_000])
def test_a_disk_that_is_full(tmp_path, small, size):
    path = tmp_path / "file.h5"
    path.write_bytes(b"before")
    small(size)
    with pytest.raises(OSError, match="No space") as caught, whole_hdf5(path) as made:
        write_all(made.file)
    assert is_full(caught.value)
    assert path.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["file.h5"]


def test_what_was_not_written_is_read_all_the_same(tmp_path, small):
    with pytest.raises(OSError, match="No space"), whole_hdf5(tmp_path / "file.h5") as made:  # noqa: PT012
        small(100_000)
        write_all(made.file)
        np.testing.assert_array_equal(made.file["group7/array"], ARRAY)


def test_places_of_chunks(tmp_path):
    with NewFile(tmp_path / "file.h5") as made:
        dataset = made.file.create_dataset("x", ARRAY.shape, ARRAY.dtype, chunks=(100, 50), shuffle=True,
                                           compression="gzip")  # fmt: skip
        places = []
        for row in range(0, 300, 100):
            packed = pack(ARRAY[row : row + 100].tobytes(), 8)
            dataset.id.write_direct_chunk((row, 0), packed)
            places.append((made.place_of(packed), packed))
        made.finish()
    raw = (tmp_path / "file.h5").read_bytes()
    assert [raw[at : at + len(packed)] for at, packed in places] == [packed for _, packed in places]
    with h5py.File(tmp_path / "file.h5") as file:
        np.testing.assert_array_equal(file["x"], ARRAY)


def test_damaged_chunks():
    content = ARRAY.tobytes()
    packed = pack(content, 8)
    assert unpack(packed, 8, len(content)) == content
    for damaged in (b"", packed[:-100], b"x" + packed, pack(content[:-8], 8)):
        assert unpack(damaged, 8, len(content)) == b""


def test_leftovers(tmp_path):
    """Those of killed writers of the same file are removed, and none that is written, or of something else."""
    path = tmp_path / "k[1].h5"
    left = temporary_name(path)
    others = [temporary_name(tmp_path / "other.h5"), temporary_name(tmp_path / "k1.h5"), tmp_path / "k[1].h5.mine.tmp"]
    for name in (left, *others):
        name.touch()
    with NewFile(temporary_name(path)):
        remove_leftovers(path)
        assert len(list(tmp_path.iterdir())) == 4
    remove_leftovers(path)
    assert sorted(tmp_path.iterdir()) == sorted(others)
