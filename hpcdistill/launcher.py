"""What the environment says before MPI starts: which rank this is, and its fair share of the node's cores."""

from __future__ import annotations

import os

_RANK = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")
_RANKS_ON_NODE = ("OMPI_COMM_WORLD_LOCAL_SIZE", "MPI_LOCALNRANKS", "PALS_LOCAL_SIZE")


def is_first_rank() -> bool:
    """Return whether this process is rank 0, or was started without a launcher."""
    return _first(_RANK, "0") == "0"


def ranks_on_node() -> int:
    """Return how many ranks a launcher has started on this node; 1 without a launcher, or if it does not tell."""
    return max(1, int(_first(_RANKS_ON_NODE, "1")))


def share_cores() -> None:
    """Set `OMP_NUM_THREADS`, unless it is set, so that the ranks of a node do not fight for its cores.

    `SLURM_CPUS_PER_TASK` decides where it is set, else the cores this process may use over the ranks on its node.
    Must come before NumPy is imported: BLAS reads the variable once.
    """
    cores = len(os.sched_getaffinity(0)) // ranks_on_node()
    os.environ.setdefault("OMP_NUM_THREADS", os.environ.get("SLURM_CPUS_PER_TASK", str(max(1, cores))))


def _first(names: tuple[str, ...], default: str) -> str:
    return next((os.environ[name] for name in names if name in os.environ), default)
