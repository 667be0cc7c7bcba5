import os
import subprocess
import sys

import pytest

from hpcdistill.launcher import is_first_rank, share_cores

CORES = len(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("OMPI_COMM", "PMI", "SLURM", "OMP_NUM", "MPI_LOCAL", "PALS")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(
    ("environment", "threads"),
    [
        ({}, CORES),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": str(CORES)}, 1),
        ({"OMPI_COMM_WORLD_LOCAL_SIZE": str(8 * CORES)}, 1),
        ({"SLURM_CPUS_PER_TASK": "7", "OMPI_COMM_WORLD_LOCAL_SIZE": "2"}, 7),
        ({"OMP_NUM_THREADS": "5", "SLURM_CPUS_PER_TASK": "7"}, 5),
    ],
)
def test_each_rank_gets_its_share_of_the_cores(monkeypatch, environment, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", "")  # so that what is set here is undone
    monkeypatch.delenv("OMP_NUM_THREADS")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    share_cores()
    assert os.environ["OMP_NUM_THREADS"] == str(threads)


def test_the_rank_is_known_before_mpi_starts(monkeypatch):
    assert is_first_rank()
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "0")
    assert is_first_rank()
    monkeypatch.setenv("OMPI_COMM_WORLD_RANK", "3")
    assert not is_first_rank()


def test_the_command_line_shares_cores_before_numpy_is_there():
    program = (
        "import os, sys, hpcdistill.__main__ as cli\n"
        "assert 'numpy' not in sys.modules\n"
        "try: cli.main(['--version'])\n"
        "except SystemExit: pass\n"
        "assert os.environ['OMP_NUM_THREADS'] and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
