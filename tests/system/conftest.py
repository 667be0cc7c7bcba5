"""Fixtures of the tests that start the real command line."""

import shutil

import pytest
from launch import run, write_config


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """A finished run, not to be changed: `finished_run / "c.toml"` is its configuration, `"out"` its output."""
    folder = tmp_path_factory.mktemp("finished")
    config = write_config(folder / "c.toml")
    result = run("run", config, "--output", folder / "out")
    assert result.code == 0, result.stderr
    return folder


@pytest.fixture
def run_copy(finished_run, tmp_path):
    """A finished run that a test may change."""
    folder = tmp_path / "copy"
    shutil.copytree(finished_run, folder, symlinks=True)
    return folder
