"""Damaged checkpoints are skipped where a run goes on, else refused in one line that names them."""

import h5py
import numpy as np
import pytest
from launch import run
from refused import check_refused


def mark_incomplete(path):
    with h5py.File(path, "r+") as file:
        file.attrs["complete"] = False


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


@pytest.mark.parametrize(("damage", "ranks"), [(mark_incomplete, 0), (truncate, 2), (empty, 0)])
def test_resume_falls_back_to_the_checkpoint_before(run_copy, finished_run, damage, ranks):
    newest, before = (run_copy / f"out/checkpoints/step-00000{step}.h5" for step in (4, 3))
    damage(newest)
    result = run("run", run_copy / "c.toml", "--output", run_copy / "out", "--resume", ranks=ranks)
    assert result.code == 0, result.stderr
    assert f"skipping a damaged checkpoint: {newest}" in result.stdout
    assert f"resuming from {before}" in result.stdout
    with h5py.File(newest) as repaired, h5py.File(finished_run / "out/latest.h5") as wanted:
        # Mixed precision, on another number of ranks: rounding may differ (docs/how-it-works/determinism.md).
        np.testing.assert_allclose(repaired["support/images"], wanted["support/images"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("ranks", [0, 2])
def test_all_checkpoints_damaged(run_copy, ranks):
    checkpoints = sorted((run_copy / "out/checkpoints").iterdir())
    for path, damage in zip(checkpoints, [mark_incomplete, truncate, empty] * 2, strict=False):
        damage(path)
    arguments = ["run", run_copy / "c.toml", "--output", run_copy / "out", "--resume"]
    check_refused(arguments, [str(checkpoints[0]), "incomplete"], ranks, run_copy)


@pytest.mark.parametrize("form", ["npz", "png", "html"])
def test_export_of_a_checkpoint_that_lacks_an_array(run_copy, form):
    checkpoint = (run_copy / "out/latest.h5").resolve()
    with h5py.File(checkpoint, "r+") as file:
        del file["support/images_display"]
    arguments = ["export", checkpoint, "--format", form]
    check_refused(arguments, ["no array /support/images_display", "Use another checkpoint"], 0, run_copy)


@pytest.mark.parametrize(("command", "ranks"), [("evaluate", 2), ("transfer", 2), ("transfer", 0), ("run", 2)])
@pytest.mark.parametrize("name", ["support/images", "support/labels"])
def test_a_checkpoint_without_a_support(run_copy, command, name, ranks):
    checkpoint = (run_copy / "out/latest.h5").resolve()
    with h5py.File(checkpoint, "r+") as file:
        del file[name]
    arguments = [command, checkpoint]
    if command == "run":
        arguments = ["run", run_copy / "c.toml", "--output", run_copy / "out", "--resume"]
    result = run(*arguments, ranks=ranks)
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
    for words in (str(checkpoint), f"no array /{name}", "Use another checkpoint"):
        assert words in result.error_lines[0]


def test_report_with_damaged_evaluations(run_copy):
    (run_copy / "out/evaluations").mkdir()
    (run_copy / "out/evaluations/natural-0123.json").write_text('{"kind": "natural", "key": "0123"}')
    arguments = ["export", run_copy / "out/latest.h5", "--format", "html"]
    check_refused(arguments, ["evaluations/natural-0123.json", "cannot be used", "measure anew"], 0, run_copy)
