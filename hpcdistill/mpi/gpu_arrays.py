"""Sums over the ranks of arrays that lie in their GPUs.

An MPI library that is "GPU-aware" reads and writes such memory itself. There is no reliable way to ask whether one is,
and one that is not may end the process. So it has to be said (`HPCDISTILL_GPU_AWARE_MPI=1`), and is tried once, at the
start. Otherwise arrays travel through page-locked memory of the host, a piece at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np

from hpcdistill.errors import ConfigError, EnvironmentSetupError
from hpcdistill.gpu.device import Device, to_host
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, agree_any, pieces
from hpcdistill.mpi.partition import STAGED_ELEMENTS
from hpcdistill.mpi.traffic import note

#: "1": the MPI library reads and writes the memory of GPUs. "0", or unset: it does not.
GPU_AWARE_VARIABLE = "HPCDISTILL_GPU_AWARE_MPI"

#: Sizes that are tried: libraries send small and large messages in different ways.
_TRIED_SIZES = (7, 2**18 + 1)


def gpu_aware() -> bool:
    """Return whether the user says that MPI reads the memory of GPUs; `ConfigError` for anything but 0 and 1."""
    value = os.environ.get(GPU_AWARE_VARIABLE, "0")
    if value not in ("0", "1"):
        raise ConfigError(f"{GPU_AWARE_VARIABLE}={value!r} must be 1, where the MPI library is GPU-aware, or 0.")
    return value == "1"


def sum_gpu_array(comm: MPI.Intracomm, device: Device, array: Any) -> Any:
    """Add `array` over the ranks, in place, and return it. Collective.

    Args:
        device: where `array` is.
        array: C-contiguous, same shape and dtype on every rank.
    """
    if comm.Get_size() == 1:
        return array
    if gpu_aware():
        device.synchronize()
        for piece in pieces(array):
            note(comm, "Allreduce", piece.nbytes)
            comm.Allreduce(MPI.IN_PLACE, piece, op=MPI.SUM)
    else:
        for piece in pieces(array, STAGED_ELEMENTS):
            staged = device.pinned(piece.size, piece.dtype)
            piece.get(out=staged)
            note(comm, "Allreduce", staged.nbytes)
            comm.Allreduce(MPI.IN_PLACE, staged, op=MPI.SUM)
            piece.set(staged)
            device.synchronize()
    return array


def check_gpu_aware(comm: MPI.Intracomm, device: Device, say: Callable[[str], None] = lambda line: None) -> None:
    """Sum arrays of known sums through GPU memory, where the user says that MPI can. Collective.

    Args:
        say: told before, since a library that cannot may end the process.

    Raises:
        ConfigError: the variable is neither 0 nor 1.
        EnvironmentSetupError: a sum is wrong, or MPI refuses → unset the variable. On every rank, unless the library
            ends the process.
    """
    with agree(comm):
        asked = gpu_aware()
    if not asked:
        return
    if comm.Get_size() > 1:
        say(f"trying MPI on the memory of GPUs ({GPU_AWARE_VARIABLE}=1): if the job ends here, unset it")
    right = True
    for size in _TRIED_SIZES:
        array = device.xp.arange(size, dtype=np.float64) * (comm.Get_rank() + 1)
        try:
            found = to_host(sum_gpu_array(comm, device, array))
        except MPI.Exception:
            right = False
            continue
        right &= np.array_equal(found, np.arange(size) * sum(range(1, comm.Get_size() + 1)))
    if agree_any(comm, not right):
        raise EnvironmentSetupError(
            f"{GPU_AWARE_VARIABLE}=1, but this MPI library does not sum arrays in the memory of GPUs. Unset the "
            "variable: they then travel through the host's memory."
        )
