"""The commit that a checkpoint names, whatever form the checkout keeps it in."""

import pytest

import hpcdistill
from hpcdistill.mpi.collectives import on_root
from hpcdistill.run.recorder import git_commit

FILES = {
    "a branch": ({"HEAD": "ref: refs/heads/main\n", "refs/heads/main": "c0ffee\n"}, "c0ffee"),
    "no branch": ({"HEAD": "c0ffee\n"}, "c0ffee"),
    "packed": ({"HEAD": "ref: refs/heads/main\n", "packed-refs": "# pack\nc0ffee refs/heads/main\n"}, "c0ffee"),
    "packed without it": ({"HEAD": "ref: refs/heads/main\n", "packed-refs": "# pack\n"}, "unknown"),
    "none": ({}, "unknown"),
}


@pytest.mark.parametrize("name", FILES)
def test_commit(comm, shared_tmp_path, monkeypatch, name):
    files, commit = FILES[name]

    def write():
        for path, content in files.items():
            path = shared_tmp_path / ".git" / path
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)

    on_root(comm, write)
    monkeypatch.setattr(hpcdistill, "__file__", str(shared_tmp_path / "hpcdistill/__init__.py"))
    assert git_commit() == commit
    comm.Barrier()
