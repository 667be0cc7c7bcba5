"""Fixtures of the tests that start the real command line."""

import os
import shutil
import subprocess

import pytest
from launch import run, write_config
from once import check_unchanged, once
from survivors import nothing_survives

__all__ = ["nothing_survives"]


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished run, not to be changed: `finished_run / "c.toml"` is its configuration, `"out"` its output."""

    def make(folder):
        result = run("run", write_config(folder / "c.toml"), "--output", folder / "out")
        assert result.code == 0, result.stderr

    yield (folder := once(tmp_path_factory, "finished", make))
    check_unchanged(folder)


@pytest.fixture
def run_copy(finished_run, tmp_path):
    """A finished run that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_run, folder, symlinks=True)
    return folder


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or not shutil.which("mount") or subprocess.run(mount, check=False).returncode:
        pytest.skip("a small file system cannot be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
