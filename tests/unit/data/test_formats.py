"""A file is what its content is, whatever its name says."""

import shutil

import h5py
import numpy as np
import pytest
from check_data import assert_split

from hpcdistill.data.readers import formats, load_dataset
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


class Toy:
    title, suffixes = "a toy", (".toy",)

    def recognises(self, path, head):
        return head.startswith(b"toy")

    def read(self, path, choose):
        words = path.read_bytes().split()[1:]
        if words == [b"odd"]:
            raise ValueError("odd\nwords")
        arrays = {"images": IMAGES, "labels": LABELS, "more": LABELS}
        if words == [b"lacks"]:
            choose(list(arrays))
            return {"images": IMAGES, "labels": [1]}
        return arrays if words == [b"unasked"] else {name: arrays[name] for name in [*choose(list(arrays)), "more"]}


class Shy(Toy):
    title = "a shy one"

    def recognises(self, path, head):
        raise KeyError("no such thing")


class Half:
    title = "half a format"


@pytest.fixture
def added(monkeypatch):
    """Readers of another package; but for one they are broken."""
    names = {
        "absent": "not_there:Format",
        "half": "test_formats:Half",
        "shy": "test_formats:Shy",
        "toy": "test_formats:Toy",
    }
    monkeypatch.setattr(formats, "added", lambda group: names)
    formats._format.cache_clear()
    yield
    formats._format.cache_clear()


def test_broken_readers_do_not_disturb_the_others(added, tmp_path, monkeypatch):
    (tmp_path / "data.bin").write_bytes(b"toy")
    assert_split(load_dataset(str(tmp_path / "data.bin")).train, IMAGES, LABELS)
    monkeypatch.chdir(tmp_path)  # a name with a dot is a file's, where there is one
    assert_split(load_dataset("data.bin").train, IMAGES, LABELS)


def test_a_file_of_no_kind_says_which_readers_are_broken(added, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"no arrays")
    with pytest.raises(DataError) as found:
        load_dataset(str(tmp_path / "data.bin"))
    for words in (
        "a toy.",
        "'absent': not_there:Format",
        "'half': test_formats:Half",
        "a shy one cannot be recognised",
    ):
        assert words in str(found.value)


@pytest.mark.parametrize(("content", "message"), [
    (b"toy odd", "cannot be read as a toy .ValueError: odd words."),
    (b"toy lacks", "the reader of a toy gives no array labels. Mend"),
    (b"toy unasked", "the reader of a toy does not ask which arrays to read"),
])  # fmt: skip
def test_a_reader_that_does_not_do_what_it_must(added, tmp_path, content, message):
    (tmp_path / "data.toy").write_bytes(content)
    with pytest.raises(DataError, match=f"data.toy: {message}"):
        load_dataset(str(tmp_path / "data.toy"))
