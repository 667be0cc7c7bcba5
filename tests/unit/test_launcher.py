import os
import subprocess
import sys

import pytest

from hpcdistill.errors import EnvironmentSetupError
from hpcdistill.launcher import check_launch, check_size, is_first_rank, ranks_on_node, share_cores

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


SRUN = {"SLURM_STEP_NUM_TASKS": "4", "SLURM_PROCID": "1", "SLURM_STEP_ID": "0"}
MPIRUN = {"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "0"}


def set_all(monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)


def test_tasks_without_pmi_are_refused(monkeypatch):
    set_all(monkeypatch, SRUN)
    with pytest.raises(EnvironmentSetupError, match="srun has started 4 tasks that cannot find each other.*launch.mpi"):
        check_launch()
    monkeypatch.setenv("PMIX_RANK", "1")
    check_launch()


@pytest.mark.parametrize("variables", [{}, MPIRUN, SRUN | MPIRUN, SRUN | {"SLURM_STEP_NUM_TASKS": "1"}])
def test_launches_that_are_right(monkeypatch, variables):
    set_all(monkeypatch, variables)
    check_launch()


@pytest.mark.parametrize(
    ("variables", "size", "message"),
    [
        (SRUN, 1, "srun has started 4 ranks, but MPI has 1: --mpi does not suit"),
        (MPIRUN, 1, "mpirun has started 2 ranks, but MPI has 1: mpirun belongs to another MPI"),
        (SRUN | MPIRUN, 1, "mpirun has started 2"),
        ({"MPI_LOCALNRANKS": "3", "PMI_SIZE": "6"}, 1, "mpirun has started 6"),
    ],
)
def test_a_communicator_of_another_size_is_refused(monkeypatch, variables, size, message):
    set_all(monkeypatch, variables)
    with pytest.raises(EnvironmentSetupError, match=message):
        check_size(size)


@pytest.mark.parametrize(("variables", "size"), [({}, 1), ({}, 5), (SRUN, 4), (MPIRUN, 2), (SRUN | MPIRUN, 2)])
def test_a_communicator_of_the_right_size(monkeypatch, variables, size):
    set_all(monkeypatch, variables)
    check_size(size)


@pytest.mark.parametrize(
    ("text", "node", "count"), [("2", "0", 2), ("2(x3),1", "2", 2), ("2(x3),1", "3", 1), ("4,2(x2)", "1", 2)]
)
def test_ranks_on_a_node_of_slurm(monkeypatch, text, node, count):
    set_all(monkeypatch, SRUN | {"SLURM_STEP_TASKS_PER_NODE": text, "SLURM_NODEID": node})
    assert ranks_on_node() == count
