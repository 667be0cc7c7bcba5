"""On a file system without locks, as NFS and Lustre may be, everything works."""

import os
import subprocess

import pytest
from launch import run
from own_files import read_own

NO_LOCKS = """
#include <cerrno>
extern "C" int flock(int, int) { errno = ENOLCK; return -1; }
"""


@pytest.fixture(scope="module")
def without_locks(tmp_path_factory):
    """What a command is started by so that no file can be locked."""
    folder = tmp_path_factory.mktemp("nolock")
    (folder / "nolock.cpp").write_text(NO_LOCKS)
    subprocess.run(["g++", "-shared", "-fPIC", "-o", folder / "nolock.so", folder / "nolock.cpp"], check=True)
    return ("env", f"LD_PRELOAD={folder}/nolock.so")


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_run_is_made_resumed_read_and_evaluated(finished_run, tmp_path, without_locks, ranks):
    output = tmp_path / "out"
    for steps in (2, 4):
        result = run("run", finished_run / "c.toml", "--output", output, "--resume", f"--set=kip.steps={steps}",
                     ranks=ranks, prefix=without_locks)  # fmt: skip
        assert result.code == 0, result.stderr
    assert read_own(output / "latest.h5").attributes["step"] == 4
    for command in ("inspect", "evaluate", "export"):
        result = run(command, output / "latest.h5", prefix=without_locks)
        assert result.code == 0, result.stderr


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_kernel_is_computed_compressed_and_read(finished_run, tmp_path, without_locks, ranks):
    """What a killed process has left stays: without locks it might be written at this moment."""
    left = tmp_path / "k.h5.0123456789ab.tmp"
    left.touch()
    arguments = ["kernel", finished_run / "c.toml", "--set=data.train_size=200", "--output", tmp_path / "k.h5"]
    for more in ([], ["--compress"]):
        result = run(*arguments, *more, ranks=ranks, prefix=without_locks)
        assert result.code == 0, result.stderr
    assert "compressed, complete" in run("inspect", tmp_path / "k.h5", prefix=without_locks).stdout
    assert left.exists()
    os.utime(left, (0, 0))  # nobody writes it
    assert run(*arguments, prefix=without_locks).code == 0
    assert not left.exists()
