"""A run that is killed at any moment loses nothing that it had saved, and ends as an undisturbed one does."""

import random
import shutil
import subprocess

import numpy as np
import pytest
from kill_loop import STEPS_PER_KILL, Job, differences, kill_one_rank, kill_repeatedly
from launch import run, write_config
from own_files import read_own

KILLS = 3


def test_kip_killed_again_and_again(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": KILLS * STEPS_PER_KILL, "evaluate_every": 50})
    undisturbed, disturbed = Job(config, tmp_path / "undisturbed"), Job(config, tmp_path / "disturbed")
    undisturbed.finish()
    assert kill_repeatedly(disturbed, KILLS, random.Random(1)) > KILLS
    assert differences(disturbed, undisturbed) == []


def test_label_solve_killed(tmp_path):
    config = write_config(tmp_path / "c.toml", method="label_solve", label_solve={"chunk": 30})
    undisturbed, disturbed = Job(config, tmp_path / "undisturbed"), Job(config, tmp_path / "disturbed")
    undisturbed.finish()
    assert kill_repeatedly(disturbed, 2, random.Random(2)) > 0
    assert differences(disturbed, undisturbed) == []


def test_label_solve_that_had_only_to_solve(tmp_path):
    """All chunks are done, and the labels are not: as if killed in between."""
    config = write_config(tmp_path / "c.toml", method="label_solve", label_solve={"chunk": 400})
    job = Job(config, tmp_path / "out")
    job.finish()
    solved = read_own(job.output / "latest.h5").arrays["support/labels"]
    assert np.isfinite(read_own(job.checkpoints()[-1]).arrays["history/loss"][-1])
    job.checkpoints()[-1].unlink()
    job.finish(resume=True)
    np.testing.assert_array_equal(read_own(job.output / "latest.h5").arrays["support/labels"], solved)
    assert "finished already" in job.finish(resume=True).stdout


def test_resume_on_other_numbers_of_ranks(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 12}, kernel={"precision": "float64"})
    whole = Job(config, tmp_path / "whole")
    whole.finish()
    for ranks, steps in ((2, 4), (3, 8), (0, 12)):
        result = run("run", config, "--output", tmp_path / "parts", "--resume", f"--set=kip.steps={steps}", ranks=ranks)
        assert result.code == 0, result.stderr
    one, other = (read_own(tmp_path / name / "latest.h5").arrays for name in ("whole", "parts"))
    np.testing.assert_allclose(other["support/images"], one["support/images"], atol=1e-8)
    np.testing.assert_allclose(other["support/labels"], one["support/labels"], atol=1e-8)


@pytest.mark.parametrize("method", ["kip", "krr"])
def test_resume_of_a_finished_run_changes_nothing(tmp_path, method):
    job = Job(write_config(tmp_path / "c.toml", method=method, krr={"draws": 3}), tmp_path / "out", ranks=0)
    job.finish()
    before = {path: path.read_bytes() for path in job.checkpoints()}
    stdout = job.finish(resume=True).stdout
    assert ("nothing was left to do" in stdout) == (method == "kip")
    assert {path: path.read_bytes() for path in job.checkpoints()} == before


def test_leftovers_of_a_killed_write_are_removed(tmp_path):
    job = Job(write_config(tmp_path / "c.toml", kip={"steps": STEPS_PER_KILL}), tmp_path / "out")
    assert kill_one_rank(job, random.Random(3)).code != 0
    leftover = job.output / f"checkpoints/step-{STEPS_PER_KILL:06d}.h5.0123456789ab.tmp"
    strangers = {
        job.output / name for name in ("notes.tmp", "notes.0123456789ab.tmp", "checkpoints/step-000001.h5.tmp")
    }
    for path in (leftover, *strangers):
        path.write_bytes(b"half")
    job.finish(resume=True)
    assert set(job.output.rglob("*.tmp")) == strangers


@pytest.mark.skipif(not shutil.which("h5dump"), reason="h5dump is not installed")
def test_other_tools_read_checkpoints(finished_run):
    path = finished_run / "out/latest.h5"
    header = subprocess.run(["h5dump", "-H", path], capture_output=True, text=True, check=True).stdout
    assert 'DATASET "images"' in header
    labels = subprocess.run(
        ["h5dump", "-d", "/support/labels", path], capture_output=True, text=True, check=True
    ).stdout
    assert "SIMPLE { ( 10, 10 ) / ( 10, 10 ) }" in labels
