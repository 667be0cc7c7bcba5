"""HDF5 files are read without locks, and only where all that they show is in them."""

import os
import shutil
import subprocess
import sys
import time

import h5py
import numpy as np
import pytest

from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import CheckpointError, DataError
from hpcdistill.hdf5 import apart
from hpcdistill.hdf5.apart import read_apart
from hpcdistill.hdf5.complete import open_complete, read_content
from hpcdistill.io.checkpoint import read_checkpoint
from hpcdistill.io.preprocess_file import read_zca

SECRET = b"what another file holds "


def external_link(file, name, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.frombuffer(SECRET, np.uint8)
    file[name] = h5py.ExternalLink(secret.with_suffix(".h5"), "/x")


def link_to_an_external_link(file, name, secret):
    external_link(file, "elsewhere", secret)
    file[name] = h5py.SoftLink("/elsewhere")


def external_storage(file, name, secret):
    file.create_dataset(name, (len(SECRET),), np.uint8, external=[(str(secret), 0, len(SECRET))])


def virtual_dataset(file, name, secret):
    with h5py.File(secret.with_suffix(".h5"), "w") as other:
        other["x"] = np.frombuffer(SECRET, np.uint8)
    layout = h5py.VirtualLayout((len(SECRET),), np.uint8)
    layout[:] = h5py.VirtualSource(secret.with_suffix(".h5"), "x", (len(SECRET),))
    file.create_virtual_dataset(name, layout)


def deep_in_a_group(file, name, secret):
    external_storage(file.create_group("a/b"), name, secret)


WAYS = (external_link, link_to_an_external_link, external_storage, virtual_dataset, deep_in_a_group)


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_other_files_are_not_read(tmp_path, way):
    path, secret = tmp_path / "file.h5", tmp_path / "secret"
    secret.write_bytes(SECRET)
    with h5py.File(path, "w") as file:
        file.attrs.update(schema_version=1, complete=True)
        file["labels"] = np.arange(4)
        way(file, "images", secret)
    for read, error in ((load_dataset, DataError), (read_checkpoint, CheckpointError), (read_zca, CheckpointError)):
        with pytest.raises(error, match=r"file\.h5: .*store the array itself") as caught:
            read(str(path) if read is load_dataset else path)
        assert SECRET.decode() not in str(caught.value)


def test_an_array_that_is_not_all_there(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("images", (2**20, 2**10), np.uint8, chunks=(1, 2**10))
    with pytest.raises(ValueError, match="has only 0 bytes"), open_complete(tmp_path / "file.h5"):
        pass


def test_arrays_that_compress_well_are_read(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.create_dataset("images", (2**10, 2**12), np.uint8, chunks=True, compression="gzip", compression_opts=9)
        file["images"][...] = 0
    with open_complete(tmp_path / "file.h5") as file:
        assert not file["images"][...].any()


def test_a_file_that_another_program_has_open_for_writing_is_read(tmp_path):
    path = tmp_path / "file.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.arange(3)
    hold = f"import h5py; file = h5py.File({str(path)!r}, 'a'); print('open', flush=True); input()"
    holder = subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert holder.stdout.readline() == b"open\n"
        with open_complete(path) as file:
            assert file["x"][...].tolist() == [0, 1, 2]
    finally:
        holder.communicate(b"\n", timeout=60)


def write_everything(path):
    """A file with arrays of all kinds, an alias, groups, and attributes."""
    with h5py.File(path, "w") as file:
        file["numbers/large"] = np.random.default_rng(0).standard_normal((20_000, 700))  # more than one slab
        file["numbers/scalar"], file["numbers/none"] = np.float32(2.5), np.zeros((0, 3))
        file.create_dataset("packed", data=np.arange(10_000).reshape(100, 100), chunks=(7, 30), compression="gzip")
        file["flags"], file["big-endian"] = np.array([True, False]), np.arange(3, dtype=">i2")
        file["names"], file["short"] = ["a", "ä b", ""], np.array([b"x", b"yz"])
        file["alias"] = file["packed"]
        file.attrs.update(step=3, loss=0.5, complete=True, name="ä", sizes=np.arange(3), odd=h5py.Empty("f"))


@pytest.mark.parametrize("names", [(), ("numbers",), ("alias", "names", "missing"), ("numbers/scalar", "flags")])
def test_read_apart_as_in_this_process(tmp_path, names):
    write_everything(tmp_path / "file.h5")
    here, apart = read_content(tmp_path / "file.h5", names), read_apart(tmp_path / "file.h5", names)
    assert {key: str(array.dtype) for key, array in here.arrays.items()} == {
        key: str(array.dtype) for key, array in apart.arrays.items()
    }
    for key, array in here.arrays.items():
        np.testing.assert_array_equal(array, apart.arrays[key], strict=True)
    assert here.attributes == apart.attributes
    assert here.attributes["sizes"] == [0, 1, 2]
    assert set(names) - {"missing", "numbers"} <= set(here.arrays)


def test_what_to_read_is_chosen_when_it_is_known_what_there_is(tmp_path):
    write_everything(tmp_path / "file.h5")
    told = []

    def choose(paths):
        told.extend(paths)
        return ["packed", "numbers/scalar"]

    content = read_apart(tmp_path / "file.h5", choose=choose)
    assert sorted(content.arrays) == ["numbers/scalar", "packed"]
    assert sorted(told) == sorted(["alias", "big-endian", "flags", "names", "numbers/large", "numbers/none",
                                   "numbers/scalar", "packed", "short"])  # fmt: skip
    (tmp_path / "text.h5").write_text("no HDF5")
    with pytest.raises(ValueError, match="signature"):
        read_apart(tmp_path / "text.h5", choose=choose)


def test_text_that_is_none_is_readable_all_the_same(tmp_path):
    with h5py.File(tmp_path / "file.h5", "w") as file:
        file.attrs["name"] = b"caf\xe9 \xb7"
    assert read_apart(tmp_path / "file.h5").attributes["name"] == "caf� �"


def test_what_ends_the_library_ends_no_command(tmp_path, monkeypatch):
    write_everything(tmp_path / "file.h5")
    ends = "import os, signal\nos.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGSEGV))"
    (tmp_path / "sitecustomize.py").write_text(ends)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    another_reader(monkeypatch)
    with pytest.raises(CheckpointError, match=r"file\.h5: .*it is damaged: HDF5 ends by SIGSEGV"):
        read_checkpoint(tmp_path / "file.h5")


def another_reader(monkeypatch):
    reader = apart._Reader()
    monkeypatch.setattr(apart, "_READER", reader)
    return reader


def test_a_reader_that_was_ended_is_started_again(tmp_path, monkeypatch):
    write_everything(tmp_path / "file.h5")
    reader = another_reader(monkeypatch)
    for _ in range(2):
        assert "packed" in read_apart(tmp_path / "file.h5").arrays
        reader._process.kill()
    reader.end()


def test_a_reader_that_does_not_start_is_said(tmp_path, monkeypatch):
    write_everything(tmp_path / "file.h5")
    another_reader(monkeypatch)
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(OSError, match="the process that reads HDF5 files does not start"):
        read_apart(tmp_path / "file.h5")


def is_there(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("where", ["while it is asked", "when it has ended"])
def test_what_fails_while_it_is_read_leaves_nothing_behind(tmp_path, monkeypatch, where):
    write_everything(tmp_path / "file.h5")
    reader, groups = another_reader(monkeypatch), []

    def fails(pipe):
        groups.append(reader._process.pid)
        if where == "when it has ended":
            pipe.read()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(apart, "_receive", fails)
        with pytest.raises(KeyboardInterrupt):
            read_apart(tmp_path / "file.h5")
    deadline = time.monotonic() + 100
    while is_there(groups[0]):
        assert time.monotonic() < deadline
    assert "packed" in read_apart(tmp_path / "file.h5").arrays
    reader.end()


FORKS = """
import os, sys
from pathlib import Path
from hpcdistill.hdf5.apart import read_apart
path = Path(sys.argv[1])
read_apart(path)
if (child := os.fork()) == 0:
    os._exit(list(read_apart(path, ["short"]).arrays) != ["short"])
assert os.waitpid(child, 0)[1] == 0
assert "packed" in read_apart(path).arrays
"""


def test_a_fork_has_a_reader_of_its_own(tmp_path):
    write_everything(tmp_path / "file.h5")
    subprocess.run([sys.executable, "-c", FORKS, tmp_path / "file.h5"], check=True, timeout=100)
