"""Tests of one process start no MPI: Open MPI would leave variables in the environment with which no mpiexec starts."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def no_mpi():
    yield
    assert "mpi4py.MPI" not in sys.modules, "this file's tests belong in tests/mpi"
