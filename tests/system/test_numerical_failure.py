"""A computation that leaves the range of numbers, or a rank that fails alone, ends the whole job with a reason."""

import sys

import numpy as np
import pytest
from launch import run, write_config
from own_files import read_own

#: Runs the command line with an error in the third gradient of one rank alone.
FAILING_RANK = """
import sys
from mpi4py import MPI
from hpcdistill.learning.krr import KernelRegression
gradient, calls = KernelRegression.gradient, []
def failing(self, *arguments):
    calls.append(None)
    if MPI.COMM_WORLD.Get_rank() == 1 and len(calls) == 3:
        raise LookupError("a cosmic ray")
    return gradient(self, *arguments)
KernelRegression.gradient = failing
from hpcdistill.__main__ import main
sys.exit(main())
"""

#: Runs the command line with gradients that fail from the fifth on, that is, at step 4.
FAILING_STEP = """
import sys
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.errors import NotFiniteError
gradient, calls = KernelRegression.gradient, []
def failing(self, *arguments):
    calls.append(None)
    if len(calls) == 5:
        raise NotFiniteError("out of range")
    return gradient(self, *arguments)
KernelRegression.gradient = failing
from hpcdistill.__main__ import main
sys.exit(main())
"""


def check_numerical(result, *words):
    assert result.code == 3, (result.code, result.stderr)
    (line,) = result.error_lines
    assert line.startswith("hpcdistill: error: ")
    assert [word for word in words if word not in line] == [], line
    assert "Traceback" not in result.stderr
    assert "RuntimeWarning" not in result.stderr


@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.parametrize("every", [1, 100])
def test_huge_learning_rate(tmp_path, ranks, every):
    config = write_config(tmp_path / "c.toml", data={"validation": 100}, checkpoint={"every": every},
                          kip={"learning_rate": 1e200, "evaluate_every": 1})  # fmt: skip
    result = run("run", config, "--output", tmp_path / "out", ranks=ranks)
    check_numerical(result, "at step 1", "kip.learning_rate")
    for name in ("latest.h5", "best.h5"):
        saved = read_own(tmp_path / "out" / name)
        assert saved.attributes["step"] == 0
        assert np.abs(saved.arrays["support/images"]).max() < 10
    assert [path.name for path in (tmp_path / "out/checkpoints").iterdir()] == ["step-000000.h5"]


@pytest.mark.parametrize("settings", [
    ["kip.label_learning_rate=1e300"],
    ["kip.learning_rate=1e200", "kernel.precision=float64"],
    ["kip.learning_rate=1e25", "kip.steps=1"],
])  # fmt: skip
def test_other_ways_out_of_range(tmp_path, settings):
    config = write_config(tmp_path / "c.toml")
    result = run("run", config, "--output", tmp_path / "out", *(f"--set={setting}" for setting in settings))
    check_numerical(result, "at step 1", "kip.learning_rate")
    assert read_own(tmp_path / "out/latest.h5").attributes["step"] == 0


def test_last_good_support_is_saved_between_checkpoints(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 9}, checkpoint={"every": 100})
    program = (sys.executable, "-c", FAILING_STEP)
    result = run("run", config, "--output", tmp_path / "out", program=program)
    check_numerical(result, "out of range")
    assert read_own(tmp_path / "out/latest.h5").attributes["step"] == 3


def test_one_rank_fails_alone(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 1000})
    program = (sys.executable, "-c", FAILING_RANK)
    result = run("run", config, "--output", tmp_path / "out", ranks=3, program=program)
    assert result.code == 1
    assert result.error_lines == ["hpcdistill: internal error on rank 1:"]
    assert "LookupError: a cosmic ray" in result.stderr
    assert read_own(tmp_path / "out/latest.h5").attributes["step"] == 1


def test_the_remedy_can_be_taken_and_is_noted(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 6, "learning_rate": 1e200})
    command = ("run", config, "--output", tmp_path / "out", "--resume")
    result = run(*command)
    check_numerical(result, "kip.learning_rate")
    assert "step 0 is saved: set what the error names with --set, and continue with --resume" in result.stdout
    result = run(*command, "--set=kip.learning_rate=0.02", "--set=kernel.precision=float64", ranks=2)
    assert result.code == 0, result.stderr
    assert "settings were changed on the way: step 0: kernel.precision: 'mixed' → 'float64'" in result.stdout
    assert run(*command, "--set=kip.learning_rate=0.02", "--set=kernel.precision=float64").code == 0
    notes = read_own(tmp_path / "out/latest.h5").attributes["changes"].splitlines()
    assert notes == ["step 0: kernel.precision: 'mixed' → 'float64'", "step 0: kip.learning_rate: 1e+200 → 0.02"]
