"""What another package adds by entry points, here `tests/plugins`, does what our own does."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from launch import command_line, rank_processes, run, start, wait_until, write_config
from own_files import read_own

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
    act(place, "export", latest, "--format", "html", "--output", "report.html")
    report = (place / "report.html").read_text()
    assert "Random search on digits: 10 images" in report
    assert "Over the steps" in report
    assert "random_search.tries" in act(place, "run", "--help")
    monkeypatch.delenv("PYTHONPATH")  # without the package its checkpoints can still be looked at
    assert "random_search" in act(place, "inspect", latest, latest)
    refused = run("evaluate", latest, cwd=place)
    assert refused.code == 2
    assert "one of another package needs that installed" in refused.stderr
