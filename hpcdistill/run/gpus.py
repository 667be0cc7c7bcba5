"""Which ranks use which GPU, looked at before anything is computed."""

from __future__ import annotations

import platform
from collections import Counter

from hpcdistill.errors import EnvironmentSetupError
from hpcdistill.learning.assemble import Kernels
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import gather_objects
from hpcdistill.mpi.gpu_arrays import check_gpu_aware
from hpcdistill.progress import Reporter


def check_gpus(comm: MPI.Intracomm, kernels: Kernels, reporter: Reporter) -> None:
    """Check that all ranks compute on GPUs, or none, and that MPI sums in them if it is said to. Collective.

    Several ranks may share a GPU, which is slower than one rank; the reporter hears of it.

    Raises:
        ConfigError, EnvironmentSetupError: on every rank.
    """
    device = kernels.ts.device
    gpus = gather_objects(comm, (platform.node(), device.bus_id if device else None))
    if device is not None:
        device.ranks = gpus.count((platform.node(), device.bus_id))
    if shared := most_ranks_of_a_gpu(gpus):
        reporter.say(f"warning: {shared} ranks share one GPU; one rank per GPU is faster (slurm/gpu.toml)")
    without = sorted({node for node, bus_id in gpus if bus_id is None})
    if device is not None and not without:
        check_gpu_aware(comm, device, reporter.say)
    elif any(bus_id is not None for _, bus_id in gpus):
        raise EnvironmentSetupError(
            f"Some ranks compute on a GPU, those on {', '.join(without)} find none. Start ranks where there are GPUs "
            "only, or use --set kernel.backend=native."
        )


def most_ranks_of_a_gpu(gpus: list[tuple[str, str | None]]) -> int:
    """Return how many ranks the most used GPU has if they are several, else 0.

    Args:
        gpus: node and bus id of each rank's GPU, None where it has none.
    """
    ranks = Counter(gpu for gpu in gpus if gpu[1] is not None)
    most = max(ranks.values(), default=0)
    return most if most > 1 else 0
