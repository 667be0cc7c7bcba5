"""Tests that run on any number of ranks: `mpiexec -n N python -m pytest tests/mpi`.

Rank 0 reports. A failure on any rank is printed and ends the job, since the other ranks may wait in a collective.
"""

import os
import sys
from pathlib import Path

import pytest

from mpi4py import MPI

from hpcdistill.mpi.shared import free_windows

WORLD = MPI.COMM_WORLD


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config):
    if config.option.basetemp:  # each rank's pytest makes its own anew
        config.option.basetemp += f"-of-rank-{WORLD.Get_rank()}"


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items
                if (mark := item.get_closest_marker("most_ranks")) and WORLD.Get_size() > mark.args[0]]  # fmt: skip
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session):
    if WORLD.Get_rank() > 0:
        reporter = session.config.pluginmanager.get_plugin("terminalreporter")
        reporter._tw._file = open(os.devnull, "w")  # noqa: SIM115 - open until the process ends


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.failed and WORLD.Get_size() > 1:
        print(
            f"rank {WORLD.Get_rank()} failed in {item.nodeid}:\n{report.longreprtext}", file=sys.__stderr__, flush=True
        )
        WORLD.Abort(1)


@pytest.fixture
def comm():
    """A communicator of its own for each test, so that nothing depends on COMM_WORLD."""
    duplicate = WORLD.Dup()
    yield duplicate
    duplicate.Barrier()
    free_windows()
    duplicate.Free()


@pytest.fixture
def shared_tmp_path(comm, tmp_path_factory):
    """A temporary folder that all ranks see under one name."""
    path = tmp_path_factory.mktemp("shared") if comm.Get_rank() == 0 else None
    return Path(comm.bcast(str(path), root=0))
