"""What the environment says before MPI starts: which rank this is, of how many, and its fair share of the node's cores.

Needs no MPI, so it answers where MPI cannot be started, too.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from hpcdistill.errors import EnvironmentSetupError

_RANK = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
_RANKS_ON_NODE = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE")
#: What `srun --mpi=…` leaves in the environment of a task that can find the others.
_PMI = ("PMIX_RANK", "PMI_RANK", "PMI_FD")
#: By which Open MPI takes a process for one of `srun`'s.
_SIGNS_OF_SLURM = ("SLURM_JOBID", "SLURM_NODELIST")


@dataclass(frozen=True)
class StartedRanks:
    """How many ranks somebody has started, and who: "srun" or "mpirun"."""

    ranks: int
    launcher: str


def is_first_rank() -> bool:
    """Return whether this process is rank 0, or was started without a launcher."""
    return _first(_RANK, "0") == "0"


def is_started_alone() -> bool:
    """Return whether nothing here says that a launcher has started this process."""
    return not any(name in os.environ for name in (*_RANK, *_RANKS_ON_NODE, *_PMI))


def ranks_on_node() -> int:
    """Return how many ranks a launcher has started on this node; 1 without a launcher, or if it does not tell."""
    if (launch := find_started_ranks()) and launch.launcher == "srun":
        return _tasks_on_node(os.environ.get("SLURM_STEP_TASKS_PER_NODE", "1"), int(os.environ.get("SLURM_NODEID", 0)))
    return max(1, int(_first(_RANKS_ON_NODE, "1")))


def find_started_ranks() -> StartedRanks | None:
    """Return how many ranks were started by whom, or None without a launcher, or where it does not tell.

    mpirun inside a Slurm job comes first: it uses srun to start helpers of its own, whose number says nothing.
    """
    for started, size in (("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_SIZE"), ("MPI_LOCALNRANKS", "PMI_SIZE")):
        if started in os.environ and size in os.environ:
            return StartedRanks(int(os.environ[size]), "mpirun")
    if "SLURM_STEP_NUM_TASKS" in os.environ and "SLURM_PROCID" in os.environ:
        return StartedRanks(int(os.environ["SLURM_STEP_NUM_TASKS"]), "srun")
    return None


def check_launch() -> None:
    """Raise `EnvironmentSetupError` where the ranks cannot find each other, before MPI ends them less readably.

    A single task that has nothing to find others with, as in a shell that `srun --pty` has started, is to be a rank by
    itself: from then on this process does not show Open MPI the signs by which it looks for Slurm's help, and aborts.
    """
    launch = find_started_ranks()
    if launch is None or launch.launcher != "srun" or any(name in os.environ for name in _PMI):
        return
    if launch.ranks == 1:
        for name in _SIGNS_OF_SLURM:
            os.environ.pop(name, None)
    else:
        raise EnvironmentSetupError(
            f"srun has started {launch.ranks} tasks that cannot find each other, as with --mpi=none. {_MPI_REMEDY}"
        )


def check_size(size: int, missing: str = "") -> None:
    """Raise `EnvironmentSetupError` unless a communicator of `size` ranks is what was started.

    Args:
        missing: why there is no MPI, where there is none.
    """
    launch = find_started_ranks()
    if launch is None or launch.ranks == size:
        return
    if missing:
        raise EnvironmentSetupError(
            f"{launch.launcher} has started {launch.ranks} ranks, but there is no MPI here ({missing}). Install mpi4py "
            "for this MPI as jobs/setup.sh does, or start one process without a launcher."
        )
    cause = f"--mpi does not suit the MPI that mpi4py uses. {_MPI_REMEDY}"
    if launch.launcher == "mpirun":
        cause = (
            "mpirun belongs to another MPI than mpi4py uses. "
            "`hpcdistill doctor` says which that is: use its own mpirun, or build mpi4py with this one's mpicc."
        )
    raise EnvironmentSetupError(f"{launch.launcher} has started {launch.ranks} ranks, but MPI has {size}: {cause}")


_MPI_REMEDY = (
    "`srun --mpi=list` shows what this Slurm has: Open MPI needs pmix, MPICH and Intel MPI pmi2 or pmix. Set it as "
    "launch.mpi in the profile, or give it to srun."
)


def share_cores() -> None:
    """Set `OMP_NUM_THREADS`, unless it is set, so that the ranks of a node do not fight for its cores.

    `SLURM_CPUS_PER_TASK` decides where it is set, else the cores this process may use over the ranks on its node.
    Must come before NumPy is imported: BLAS reads the variable once.
    """
    cores = len(os.sched_getaffinity(0)) // ranks_on_node()
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", str(max(1, cores))))


def _tasks_on_node(text: str, node: int) -> int:
    """Return the number for a node in Slurm's short form: `2(x3),1` is 2, 2, 2, 1."""
    counts = [int(n) for n, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", text) for _ in range(int(times or 1))]
    return counts[node] if node < len(counts) else 1


def _first(names: tuple[str, ...], default: str) -> str:
    return next((os.environ[name] for name in names if name in os.environ), default)
