"""What another package adds by entry points, here `tests/plugins`, does what our own does."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from launch import command_line, percentage, rank_processes, run, start, wait_until, write_config
from own_files import read_own
from sklearn.datasets import load_digits

import hpcdistill
from hpcdistill.data.readers import load_dataset

PLUGINS = Path(__file__).parents[1] / "plugins"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder to work in, where the package is installed."""
    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    return tmp_path


def search(place, tries):
    return write_config(
        place / f"{tries}.toml", method="random_search", random_search={"tries": tries}, kernel={"precision": "float64"}
    )


def act(place, *arguments, ranks=0):
    """Run a command in a process that finds the package; return what it prints."""
    result = run(*arguments, ranks=ranks, cwd=place)
    assert result.code == 0, result.stderr
    return result.stdout


def test_a_killed_method_goes_on_where_it_was(place):
    endless = search(place, 100000)
    process = start([*command_line(2), "run", str(endless), "--output", str(place / "out")], cwd=place)
    latest = place / "out/latest.h5"
    wait_until(
        lambda: latest.exists() and len(list((place / "out/checkpoints").iterdir())) >= 3, "checkpoints", process
    )
    for pid in rank_processes(process, 2):
        os.kill(pid, signal.SIGKILL)
    process.wait(timeout=60)
    tries = read_own(latest).attributes["step"] + 3
    said = act(place, "run", endless, "--output", "out", "--resume", f"--set=random_search.tries={tries}")
    assert "random_search on digits" in said
    act(place, "run", search(place, tries), "--output", "whole")
    one, other = (read_own(place / name / "latest.h5").arrays for name in ("out", "whole"))
    np.testing.assert_array_equal(one["support/source_index"], other["support/source_index"])
    np.testing.assert_allclose(one["history/loss"], other["history/loss"], rtol=1e-9)
    assert len(one["history/step"]) == tries


@pytest.mark.parametrize("ranks", [0, 2])
def test_images_that_grow_beyond_what_kernels_can_take_are_a_numerical_error(place, ranks):
    """… which leaves the last state that was good, and no wrong input."""
    result = run("run", search(place, 30), "--output", "out", "--set=random_search.growth=1e30", ranks=ranks, cwd=place)
    assert (result.code, len(result.error_lines)) == (3, 1), result.stderr
    assert "after step 6: Image 0 of 10 has pixels up to" in result.error_lines[0]
    kept = read_own(place / "out/latest.h5")
    assert kept.attributes["step"] == 6
    assert np.isfinite(kept.arrays["history/tried_loss"]).all()  # a column of its own


def write_digits(path):
    """Write digits as a table of text: of each class the first 20."""
    digits = load_digits()
    chosen = np.concatenate([np.flatnonzero(digits.target == k)[:20] for k in range(10)])
    table = np.column_stack([digits.target, digits.data])[chosen].astype(int)
    names = ",".join(["label", *(f"pixel{k}" for k in range(64))])
    np.savetxt(path, table, "%d", ",", header=names, comments="")
    return path


def test_a_reader_and_a_backend(place):
    write_digits(place / "digits.csv")
    short = {"kip": {"steps": 2, "batch": 50}, "data": {"name": "digits.csv"}}
    for backend in ("dot", "native"):
        kernel = {"architecture": "flatten dense", "backend": backend, "precision": "float64"}
        said = act(place, "run", write_config(place / "c.toml", kernel=kernel, **short), "--output", backend)
        assert f"backend {backend}" in said
        assert "on digits.csv (160 training images 8×8×1, 10 classes)" in said
    one, other = (read_own(place / name / "latest.h5").arrays["support/images"] for name in ("dot", "native"))
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-9)
    unfit = run("run", place / "c.toml", "--set=kernel.architecture=FC1", "--set=kernel.backend=dot", cwd=place)
    assert "it is for one dense layer alone" in unfit.stderr
    # As a distilled set of somebody else, too.
    said = act(place, "evaluate", "digits.csv", "--set", "data.name=digits", "--set", "kernel.architecture=FC1")
    assert "200 support images, FC1 NTK: test accuracy" in said


def test_a_method_is_listed_and_reported(place, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_STATE", str(place / "state"))
    (place / "p.toml").write_text(tomli_w.dumps({"executor": "local", "resources": {"tasks_per_node": 1}}))
    act(place, "submit", search(place, 4), "--profile", "p.toml", "--output", "out", "--wait")
    row = act(place, "jobs").splitlines()[-1].split()
    assert row[1:3] == ["COMPLETED", "4/4"]
    latest = place / "out/latest.h5"
    assert "method               random_search" in act(place, "inspect", latest)
    assert "Random search" in act(place, "inspect", latest, latest)
    assert "test accuracy" in act(place, "evaluate", latest)
    report = export_html(place, latest)
    assert "Random search on digits: 10 images" in report
    assert "Over the steps" in report
    assert "random_search.tries" in act(place, "run", "--help")
    accuracy = percentage(act(place, "evaluate", latest))
    monkeypatch.delenv("PYTHONPATH")  # without the package what it has made can be used all the same
    assert "random_search" in act(place, "inspect", latest, latest)
    assert percentage(act(place, "evaluate", latest)) == accuracy
    act(place, "export", latest, "--output", "set.npz")
    assert "random_search on digits: 10 images" in export_html(place, latest)
    assert act(place, "jobs").splitlines()[-1].split()[1:3] == ["COMPLETED", "4"]
    for file in (latest, place / "set.npz"):
        assert predicts_digits(hpcdistill.load(file)) == pytest.approx(float(accuracy[:-1]) / 100, abs=1e-4)
    kip = write_config(place / "kip.toml", kip={"steps": 1, "batch": 100}, support={"init": str(latest)})
    assert "step 1: test" in act(place, "run", kip, "--output", "kip")
    refused = run("run", place / "4.toml", "--output", "out", "--resume", cwd=place)
    assert refused.code == 2
    assert "one of another package needs that installed" in refused.stderr


def export_html(place, file):
    act(place, "export", file, "--output", "report.html")
    return (place / "report.html").read_text()


def predicts_digits(distilled):
    test = load_dataset("digits").test
    return (distilled.predict(test.images).argmax(axis=1) == test.labels).mean()
