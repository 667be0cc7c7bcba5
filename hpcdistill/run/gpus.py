"""Which ranks use which GPU."""

from __future__ import annotations

import platform
from collections import Counter

from mpi4py import MPI

from hpcdistill.distill.assemble import Kernels
from hpcdistill.mpi.collectives import gather_objects
from hpcdistill.progress import Reporter


def warn_of_shared_gpus(comm: MPI.Intracomm, kernels: Kernels, reporter: Reporter) -> None:
    """Say so if several ranks use one GPU, which is allowed but slower than one rank. Collective."""
    bus_id = getattr(kernels.ts, "bus_id", None)
    if shared := most_ranks_of_a_gpu(gather_objects(comm, (platform.node(), bus_id))):
        reporter.say(f"warning: {shared} ranks share one GPU; one rank per GPU is faster (slurm/gpu.toml)")


def most_ranks_of_a_gpu(gpus: list[tuple[str, str | None]]) -> int:
    """Return how many ranks the most used GPU has if they are several, else 0.

    Args:
        gpus: node and bus id of each rank's GPU, None where it has none.
    """
    ranks = Counter(gpu for gpu in gpus if gpu[1] is not None)
    most = max(ranks.values(), default=0)
    return most if most > 1 else 0
