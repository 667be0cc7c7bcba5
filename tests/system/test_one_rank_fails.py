"""One rank alone fails: all end, with one message. `python tests/system/faults.py` looks at every function."""

import sys

import pytest
from faults import run_with, wrong
from launch import run, write_config

#: Where a rank saves what it has, or looks whether it still may, after an error that the others may not have met.
PLACES = [
    ("methods/kip/step.py:kip_gradient", "NotFiniteError", 3),
    ("learning/krr.py:KernelRegression.gradient", "StorageError", 4),
    ("io/checkpoint_write.py:write_checkpoint", "StorageError", 4),
    ("io/checkpoint_write.py:_write_rows", "LookupError", 1),
    ("data/sampling.py:<module>", "EnvironmentSetupError", 2),
]


@pytest.mark.parametrize(("place", "error", "code"), PLACES)
def test_in_a_run(tmp_path, place, error, code):
    result = run_with(["run", write_config(tmp_path / "c.toml"), "--output", tmp_path / "out"], place, error)
    assert (wrong(result), result.code) == (None, code), result.stderr


@pytest.mark.parametrize("command", [("evaluate", "--natural", "1"), ("transfer", "--seeds", "1")], ids=lambda c: c[0])
def test_in_other_commands(finished_run, command):
    name, *options = command
    result = run_with(
        [name, finished_run / "out/latest.h5", *options], "run/experiment.py:load_experiment", "DataError"
    )
    assert (wrong(result), result.code) == (None, 2), result.stderr


def test_an_error_that_nobody_catches(tmp_path):
    """As where one node lacks a library: the others are in MPI already and wait."""
    program = """
import hpcdistill.mpi
from mpi4py import MPI
assert MPI.COMM_WORLD.Get_rank() == 0, "not on this node"
MPI.COMM_WORLD.Barrier()
"""
    result = run(ranks=2, program=(sys.executable, "-c", program))
    assert result.code == 1
    assert "AssertionError: not on this node" in result.stderr
