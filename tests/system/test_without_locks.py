"""On a file system without locks, as NFS and Lustre may be, everything works."""

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
