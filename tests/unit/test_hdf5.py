"""HDF5 files are read without locks, and only where all that they show is in them."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import CheckpointError, DataError
from hpcdistill.hdf5 import open_complete
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
