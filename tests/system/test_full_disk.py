"""A disk that fills up ends a run with exit code 4 and leaves what had been saved."""

import os
import re
import sys

import numpy as np
import pytest
from launch import run, write_config
from own_files import read_own

RANKS = [0, 2]
#: Runs the command line with the check of free space before each write left out, as if another program filled the disk
#: between that check and the write; then with the space not held either, as where a file system cannot.
UNCHECKED = """
import sys
import hpcdistill.io.checkpoint_write as writer
writer._check_room = lambda path, n_bytes: writer.temporary_name(path)
from hpcdistill.__main__ import main
sys.exit(main())
"""
NOT_HELD = UNCHECKED.replace("from", "writer._hold_room = lambda temporary, path: None\nfrom")


def fill(folder, left):
    """Fill a file system but for `left` bytes; return the file that does."""
    ballast = folder / "ballast"
    free = os.statvfs(folder)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - left))
    return ballast


def check_full(result, output):
    assert result.code == 4, (result.code, result.stderr)
    (line,) = result.error_lines
    assert line.startswith(f"hpcdistill: error: {output / 'checkpoints'}: checkpoint step-"), line
    assert "make room, then continue with --resume" in line
    # No rank crashed. Of an orderly abort, too, Open MPI 5 says that it may have ended other ranks "by signals".
    assert not re.search(r"(exited on|received)\s+signal", result.stderr, re.IGNORECASE), result.stderr
    assert list(output.rglob("*.tmp")) == []
    return line


@pytest.mark.parametrize("ranks", RANKS)
def test_disk_fills_up_and_is_cleared(tmp_path, small_disk, ranks):
    config = write_config(tmp_path / "c.toml", kip={"steps": 30}, checkpoint={"keep": 30})
    output = small_disk / "out"
    ballast = fill(small_disk, 2 << 20)
    line = check_full(run("run", config, "--output", output, ranks=ranks), output)
    assert "no space left" in line
    saved = [read_own(path).attributes["step"] for path in sorted((output / "checkpoints").iterdir())]
    assert saved == list(range(saved[-1] + 1))
    assert read_own(output / "latest.h5").attributes["step"] == saved[-1] > 0
    ballast.unlink()
    result = run("run", config, "--output", output, "--resume", ranks=ranks)
    assert result.code == 0, result.stderr
    assert np.isfinite(read_own(output / "latest.h5").arrays["support/images"]).all()
    assert read_own(output / "latest.h5").attributes["step"] == 30


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("program", [UNCHECKED, NOT_HELD], ids=["held", "not held"])
def test_disk_fills_up_during_a_write(tmp_path, small_disk, ranks, program):
    config = write_config(tmp_path / "c.toml", kip={"steps": 30}, checkpoint={"keep": 30})
    output = small_disk / "out"
    fill(small_disk, 100_000)
    check_full(run("run", config, "--output", output, ranks=ranks, program=(sys.executable, "-c", program)), output)
    newest = sorted((output / "checkpoints").iterdir())[-1]
    assert read_own(newest).attributes["step"] == read_own(output / "latest.h5").attributes["step"]


def test_export_to_a_full_disk(small_disk, finished_run):
    fill(small_disk, 0)
    result = run("export", finished_run / "out/latest.h5", "--output", small_disk / "set.npz")
    assert result.code == 4, result.stderr
    (line,) = result.error_lines
    assert str(small_disk / "set.npz") in line
    assert "--output" in line
