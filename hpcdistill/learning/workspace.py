"""Where a rank's dense work is done, next to its kernels: in the host's memory, or on its GPU.

Kernel rows, cotangents, `K_ss` and the gradient stay there. What KRR does with them is written once, for
`workspace.xp`. Matrices of a column per class, such as labels and right-hand sides, are NumPy's between the steps.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import isqrt
from typing import Any

import numpy as np

from hpcdistill.gpu.device import Device, to_host
from hpcdistill.kernels.base import KernelBackend
from hpcdistill.linalg.blockcyclic import SCALAPACK_FROM
from hpcdistill.linalg.factor import Factor
from hpcdistill.linalg.gpu import GpuCholesky
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import sum_array
from hpcdistill.mpi.gpu_arrays import sum_gpu_array

#: On a GPU, matrices of float64 of the size of `K_ss` that have to fit its memory: itself, its factor, and room.
_MATRICES_ON_GPU = 4


class Workspace(ABC):
    """A memory with arrays in it. Not collective, but for `sum`.

    Attributes:
        xp: NumPy, or what has its functions for arrays here.
        most_factored: support size up to which each rank had better factor `K_ss` here by itself.
    """

    xp: Any
    most_factored: int

    @abstractmethod
    def asarray(self, array: Any) -> Any:
        """Return an array, NumPy's or a GPU's, as one of this workspace: itself if it is."""

    @abstractmethod
    def sum(self, comm: MPI.Intracomm, array: Any) -> Any:
        """Add an array of this workspace over the ranks, in place, and return it. Collective."""

    @abstractmethod
    def factor(self, matrix: Any) -> Factor:
        """Return the Cholesky factor of a complete matrix of this workspace, which may be overwritten."""

    def finish(self) -> None:
        """Wait for what was started here; what failed on the way is raised."""
        return


class HostWorkspace(Workspace):
    """The host's memory and NumPy."""

    xp = np
    most_factored = SCALAPACK_FROM - 1

    def asarray(self, array: Any) -> np.ndarray:
        """See `Workspace.asarray`."""
        return to_host(array)

    def sum(self, comm: MPI.Intracomm, array: np.ndarray) -> np.ndarray:
        """See `Workspace.sum`."""
        return sum_array(comm, array)

    def factor(self, matrix: np.ndarray) -> Factor:
        """See `Workspace.factor`."""
        return ReplicatedCholesky(matrix, overwrite=True)


class GpuWorkspace(Workspace):
    """A GPU."""

    def __init__(self, device: Device) -> None:
        self._device, self.xp = device, device.xp
        self.most_factored = isqrt(device.memory_bytes // device.ranks // (8 * _MATRICES_ON_GPU))

    def asarray(self, array: Any) -> Any:
        """See `Workspace.asarray`."""
        return self.xp.asarray(array)

    def sum(self, comm: MPI.Intracomm, array: Any) -> Any:
        """See `Workspace.sum`."""
        return sum_gpu_array(comm, self._device, array)

    def factor(self, matrix: Any) -> Factor:
        """See `Workspace.factor`."""
        return GpuCholesky(self._device, matrix)

    def finish(self) -> None:
        """See `Workspace.finish`."""
        self._device.synchronize()


def workspace_of(backend: KernelBackend) -> Workspace:
    """Return the workspace in which a backend leaves its kernels. Not collective."""
    return HostWorkspace() if backend.device is None else GpuWorkspace(backend.device)
