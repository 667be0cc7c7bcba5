"""Figures are of the data and settings they are said to be of: data that moved are known again, others are noticed."""

import re
import shutil

import numpy as np
import pytest
from launch import run, succeed, write_config
from once import check_unchanged, once
from own_files import read_own
from refused import check_refused

from hpcdistill.data.readers import load_dataset
from hpcdistill.io.evaluation_records import read_evaluations


def write_own(path, shift=0, size=8):
    """Write digits as a user's own file; `shift` moves all of their labels, `size` cuts them."""
    data = load_dataset("digits")
    arrays = {}
    for prefix, split in (("", data.train), ("test_", data.test)):
        arrays |= {f"{prefix}images": split.images[:300, :size], f"{prefix}labels": (split.labels[:300] + shift) % 10}
    np.savez(path, **arrays)


@pytest.fixture(scope="module")
def own_run(tmp_path_factory):
    """A folder with data, a configuration that names them by a relative name, and a finished run."""

    def make(folder):
        write_own(folder / "own.npz")
        write_config(folder / "c.toml", data={"name": "own.npz"}, kip={"steps": 4, "batch": 50, "evaluate_every": 2})
        result = run("run", folder / "c.toml", "--output", folder / "out")
        assert result.code == 0, result.stderr

    yield (folder := once(tmp_path_factory, "own", make))
    check_unchanged(folder)


@pytest.fixture
def own_copy(own_run, tmp_path):
    """The same, to be changed; its data lie where they did, and in the copy."""
    folder = tmp_path / "copy"
    shutil.copytree(own_run, folder, symlinks=True)
    return folder


def test_data_named_by_a_relative_name_are_found_from_anywhere(own_run, own_copy):
    path = own_copy / "out/latest.h5"
    assert read_own(path).attributes["dataset"] == "own.npz"
    assert f'name = "{own_run}/own.npz"' in succeed("inspect", path)
    assert "10 support images, FC1 NTK: test accuracy" in succeed("evaluate", path)


def test_data_that_moved_are_the_same_data(own_copy):
    (own_copy / "own.npz").rename(own_copy / "moved.npz")
    text = succeed("run", own_copy / "c.toml", "--output", own_copy / "out", "--resume", "--set=kip.steps=6",
                   f"--set=data.name={own_copy}/moved.npz", ranks=2)  # fmt: skip
    assert "resuming from" in text
    assert read_own(own_copy / "out/latest.h5").attributes["step"] == 6
    (own_copy / "moved.npz").unlink()
    refused = run("evaluate", own_copy / "out/latest.h5")
    assert refused.code == 2
    for words in ("moved.npz: no such file or folder", "latest.h5 was made with it", "with --set data.name=PATH"):
        assert words in refused.stderr


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_run_whose_data_changed_does_not_go_on(own_copy, ranks):
    write_own(own_copy / "own.npz", shift=1)
    arguments = ["run", own_copy / "c.toml", "--output", own_copy / "out", "--resume", "--set=kip.steps=6"]
    check_refused(arguments, ["own.npz", "training and test images or labels", "Restore them"], ranks, own_copy)


def test_other_data_are_evaluated_with_the_means_of_the_run_and_named(own_copy):
    own = succeed("evaluate", own_copy / "out/latest.h5")
    write_own(own_copy / "other.npz", shift=1)
    text = succeed("evaluate", own_copy / "out/latest.h5", f"--set=data.name={own_copy}/other.npz")
    assert "other.npz has other training and test images than the run" in text
    assert re.search(r"test accuracy ([\d.]+)%", text)[1] != re.search(r"test accuracy ([\d.]+)%", own)[1]
    assert len(read_evaluations(own_copy / "out")) == 2
    succeed("export", own_copy / "out/latest.h5", "--format", "html", "--output", own_copy / "report.html")
    assert "FC1 NTK, data.name=other.npz" in (own_copy / "report.html").read_text()


@pytest.mark.parametrize("command", ["evaluate", "transfer"])
def test_images_of_another_shape(own_copy, command):
    write_own(own_copy / "small.npz", size=6)
    arguments = [command, own_copy / "out/latest.h5", f"--set=data.name={own_copy}/small.npz"]
    check_refused(arguments, ["small.npz", "(6, 8, 1)", "(8, 8, 1)", "data.name"], 2, own_copy)


def test_settings_of_preprocessing_stay(run_copy):
    arguments = ["evaluate", run_copy / "out/latest.h5", "--set=preprocess.zca=true"]
    check_refused(arguments, ["latest.h5", "zca=False", "Leave preprocess.* as it is"], 0, run_copy)


def test_figures_of_other_settings_stand_beside_those_of_the_run(run_copy):
    others = ("--set", "solve.reg=1000", "--set", "kernel.b_std=3")
    command = ("evaluate", run_copy / "out/latest.h5", "--natural", "1", "--draws", "1")

    def figures(*settings):
        return re.findall(r"test accuracy [\d.]+%|natural images: [\d.]+%", succeed(*command, *settings))

    own, other = figures(), figures(*others)
    assert len(own) == len(other) == 2
    assert own != other
    shutil.rmtree(run_copy / "out/evaluations")
    assert figures(*others) == other
    assert figures() == own
    assert figures() == own
    assert len(read_evaluations(run_copy / "out")) == 4
    succeed("export", run_copy / "out/latest.h5", "--format", "html", "--output", run_copy / "report.html")
    assert "FC1 NTK, kernel.b_std=3.0, solve.reg=1000.0" in (run_copy / "report.html").read_text()
