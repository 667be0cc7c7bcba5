"""A Slurm cluster for the tests of this folder, and what an undisturbed run ends with."""

import sys
from pathlib import Path

import pytest
from virtual_cluster import Cluster, missing

sys.path.append(str(Path(__file__).parents[1] / "system"))

from batch_jobs import CONFIGS, Workplace
from kill_loop import Job as PlainRun
from launch import write_config
from once import once
from survivors import nothing_survives

__all__ = ["nothing_survives"]


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Two nodes of two processors, no accounting."""
    if why := missing():
        pytest.skip(f"Slurm: {why}")
    with Cluster(tmp_path_factory.mktemp("cluster")) as started:
        yield started


@pytest.fixture
def workplace(cluster, tmp_path):
    """A folder to submit from; no job outlives the test."""
    with Workplace(cluster, tmp_path) as place:
        yield place


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory):
    """A function of method and ranks: the run that nothing has disturbed, under mpiexec."""

    def get(method="kip", ranks=2):
        folder = once(
            tmp_path_factory,
            f"undisturbed-{method}-{ranks}",
            lambda folder: PlainRun(write_config(folder / "c.toml", **CONFIGS[method]), folder / "out", ranks).finish(),
        )
        return PlainRun(folder / "c.toml", folder / "out", ranks)

    return get
