"""`hpcdistill reproduce` on a tiny data set in MNIST's format."""

import numpy as np
import pytest
from launch import run
from own_files import read_own
from test_bad_input import idx

from hpcdistill.config import parse_config


@pytest.fixture
def root(tmp_path):
    rng, folder = np.random.default_rng(0), tmp_path / "data"
    folder.mkdir()
    for split in ("train", "t10k"):
        (folder / f"{split}-images-idx3-ubyte").write_bytes(idx(rng.integers(0, 256, (20, 28, 28))))
        (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx(np.arange(20) % 10))
    return folder


def test_tables_are_listed_and_printed():
    listed = [line.split()[0] for line in run("reproduce").stdout.splitlines()]
    assert listed == ["label-solve", "kip-convnet", "kip-fc", "notebook"]
    assert "cifar-10-fc1-10" in run("reproduce", "kip-fc").stdout


@pytest.mark.parametrize("ranks", [0, 2])
def test_cells_are_run_and_collected(tmp_path, root, ranks):
    cell = ("reproduce", "label-solve", "--cell", "mnist-*-1", "--run", "--seeds", "0,1", "--set", f"data.root={root}")
    command = (*cell, "--output", tmp_path / "out")
    result = run(*command, ranks=ranks)
    assert result.code == 0, result.stderr
    words = result.stdout.splitlines()[-1].split()
    assert (words[0], words[1], words[-1]) == ("mnist-convnet-1", "73.35", "2")
    assert (tmp_path / "out/label-solve/mnist-convnet-1/seed=1/latest.h5").exists()
    assert "finished already" in run(*command, ranks=ranks).stdout


def test_another_network_is_another_cell(tmp_path, root):
    result = run("reproduce", "label-solve", "--cell", "mnist-*-1", "--run", "--output", tmp_path / "out",
                 "--set", f"data.root={root}", "--set", "kernel.architecture=FC1")  # fmt: skip
    assert result.code == 2
    assert "is no run of label-solve/mnist-convnet-1" in result.error_lines[0]


WRONG = [
    (["no"], "Valid: label-solve"),
    (["kip-fc", "--cell", "x"], "cifar-10-fc1"),
    (["kip-fc", "--seeds", "a"], "--seeds"),
    (["kip-fc", "--hours", "0"], "--hours 0.0 must be a number above 0"),
    (["kip-fc", "--hours", "nan"], "--hours nan must be a number above 0"),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_wrong_arguments(arguments, message):
    result = run("reproduce", *arguments)
    assert result.code == 2
    (line,) = result.error_lines
    assert message in line


def test_a_time_for_each_run(tmp_path, root):
    command = ("reproduce", "kip-convnet", "--cell", "mnist-convnet-1", "--run", "--hours", "0.001", "--output",
               tmp_path / "out", "--set", f"data.root={root}", "--set", "kip.batch=20")  # fmt: skip
    result = run(*command)
    assert result.code == 0, result.stderr
    assert result.stdout.startswith("mnist-convnet-1: 4 s; published 97.3 %, reached before: ")
    saved = read_own(tmp_path / "out/kip-convnet/mnist-convnet-1/seed=0/latest.h5")
    config = parse_config(saved.attributes["config"])
    assert (config.kip.hours, config.kip.loss, config.kip.schedule) == (0.001, "cross_entropy", "cosine")
    assert config.augment.rotation == 0
    assert saved.attributes["step"] == saved.arrays["kip/plan"][0]
    refused = run("reproduce", "label-solve", "--cell", "mnist-convnet-1", "--run", "--hours", "1")
    assert refused.code == 2
    assert "--hours is for KIP" in refused.error_lines[0]
