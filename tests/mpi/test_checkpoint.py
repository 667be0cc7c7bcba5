"""Parallel HDF5: what is written comes back, on any number of ranks, whole or not at all."""

import os

import h5py
import numpy as np
import pytest

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.io import checkpoint_write
from hpcdistill.io.checkpoint import SCHEMA_VERSION, Checkpoint, read_checkpoint
from hpcdistill.io.checkpoint_write import write_checkpoint
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.mpi.collectives import on_root

ATTRIBUTES = {"schema_version": SCHEMA_VERSION, "config": "seed = 1\n", "step": 12, "method": "kip"}


def example():
    rng = np.random.default_rng(0)
    return Checkpoint(
        {
            "support/images": rng.standard_normal((7, 3, 4, 2)),
            "support/images_display": rng.integers(0, 256, (7, 3, 4, 2)).astype(np.uint8),
            "support/source_index": np.arange(7),
            "optimizer/images/count": np.array(5, np.int32),
            "history/loss": np.array([np.nan, 0.5]),
            "history/none": np.empty((0, 3)),
        },
        ATTRIBUTES,
    )


def test_what_is_written_comes_back(comm, shared_tmp_path):
    path = shared_tmp_path / "step-000012.h5"
    write_checkpoint(comm, path, example())
    read = read_checkpoint(path)
    assert read.arrays.keys() == example().arrays.keys()
    for name, array in example().arrays.items():
        np.testing.assert_array_equal(read.arrays[name], np.atleast_1d(array), err_msg=name)
        assert read.arrays[name].dtype == array.dtype
    assert read.attributes == ATTRIBUTES | {"complete": True}
    assert read.group("history").keys() == {"loss", "none"}
    comm.Barrier()
    assert [p.name for p in shared_tmp_path.iterdir()] == [path.name]


def test_writing_again_replaces(comm, shared_tmp_path):
    path = shared_tmp_path / "a.h5"
    write_checkpoint(comm, path, example())
    write_checkpoint(comm, path, Checkpoint({"x": np.arange(3)}, ATTRIBUTES))
    assert read_checkpoint(path).arrays.keys() == {"x"}


def test_the_disk_has_given_the_space_before_the_first_row_is_written(comm, shared_tmp_path, monkeypatch):
    write_rows, given = checkpoint_write._write_rows, []

    def looking(comm, dataset, array):
        given.append(512 * os.stat(dataset.file.filename).st_blocks)
        write_rows(comm, dataset, array)

    monkeypatch.setattr(checkpoint_write, "_write_rows", looking)
    write_checkpoint(comm, shared_tmp_path / "a.h5", Checkpoint({"x": np.zeros((1000, 1000))}, ATTRIBUTES))
    assert given[0] >= 8_000_000


def test_a_folder_that_is_gone_is_an_error_on_every_rank(comm, shared_tmp_path):
    with pytest.raises(StorageError, match=r"gone: checkpoint a.h5 could not be written.*--resume"):
        write_checkpoint(comm, shared_tmp_path / "gone" / "a.h5", example())


def test_incomplete_foreign_and_newer_files_are_refused(comm, shared_tmp_path):
    def spoil(name, **attributes):
        def change():
            with h5py.File(shared_tmp_path / name, "r+") as file:
                file.attrs.update(attributes)

        write_checkpoint(comm, shared_tmp_path / name, example())
        on_root(comm, change)
        return shared_tmp_path / name

    with pytest.raises(CheckpointError, match="is incomplete"):
        read_checkpoint(spoil("a.h5", complete=False))
    with pytest.raises(CheckpointError, match="schema version 99"):
        read_checkpoint(spoil("b.h5", schema_version=99))
    with pytest.raises(CheckpointError, match="no such file"):
        read_checkpoint(shared_tmp_path / "none.h5")


def test_foreign_and_truncated_files_are_refused(comm, tmp_path):
    if comm.Get_rank() > 0:
        return
    with h5py.File(tmp_path / "foreign.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(CheckpointError, match="was not written by hpcdistill"):
        read_checkpoint(tmp_path / "foreign.h5")
    content = (tmp_path / "foreign.h5").read_bytes()
    (tmp_path / "cut.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(CheckpointError, match="cannot be read as HDF5"):
        read_checkpoint(tmp_path / "cut.h5")


@pytest.mark.parametrize(("schedule", "steps"), [(True, (0, 6, 7, 9)), (False, (7, 9))])
def test_the_newest_and_the_papers_steps_are_kept(comm, shared_tmp_path, schedule, steps):
    directory = RunDirectory(shared_tmp_path)
    on_root(comm, lambda: directory.prepare(resume=False))
    for step in (0, 3, 5, 6, 7, 9):
        write_checkpoint(comm, directory.checkpoint_path(step), example())
        on_root(comm, lambda step=step: directory.published(step, keep=2, paper_steps=schedule))
    kept = sorted(p.name for p in directory.checkpoints.iterdir())
    assert kept == [f"step-{s:06d}.h5" for s in steps]
    assert directory.latest.resolve().name == "step-000009.h5"


def test_a_link_that_cannot_be_made_is_an_error_on_every_rank(comm, shared_tmp_path):
    directory = RunDirectory(shared_tmp_path)
    on_root(comm, lambda: directory.prepare(resume=False))
    on_root(comm, lambda: (directory.latest / "in the way").mkdir(parents=True))
    with pytest.raises(StorageError, match="checkpoints could not be tidied"):
        on_root(comm, lambda: directory.published(0, keep=2, paper_steps=True))


def test_resuming_skips_a_damaged_checkpoint_and_says_so(comm, shared_tmp_path):
    directory, said = RunDirectory(shared_tmp_path), []
    on_root(comm, lambda: directory.prepare(resume=False))
    for step in (1, 2):
        write_checkpoint(comm, directory.checkpoint_path(step), example())
    on_root(comm, lambda: directory.checkpoint_path(2).write_bytes(b"\x89HDF\r\n\x1a\n half"))
    assert directory.newest(said.append) is not None
    assert "step-000002.h5" in said[0]
    assert "skipping" in said[0]
    assert said[1].endswith("step-000001.h5")
    comm.Barrier()
    on_root(comm, lambda: directory.checkpoint_path(1).write_bytes(b""))
    with pytest.raises(CheckpointError):
        directory.newest(said.append)
