"""The GPU as backend `cuda` sees it: arrays, a compiler, launches. CuPy is imported when a device is asked for."""

from __future__ import annotations

import os
from functools import cache
from typing import Any, Protocol

import numpy as np

from hpcdistill.errors import NotSuitable

#: Where launchers say which of its node's ranks this is.
_LOCAL_RANK_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID")


#: Numbers below the normal ones count as zero: square roots and reciprocals then need no branch for them.
COMPILER_OPTIONS = ("-std=c++17", "--ftz=true")


class Limits(Protocol):
    """What a block may take.

    Attributes:
        shared_bytes: shared memory, at most.
    """

    shared_bytes: int

    def warps(self, dtype: np.dtype) -> tuple[int, int]:
        """Return the warps of a block that evaluates kernels alone, and of any other, as its registers allow."""
        ...


class Device(Limits, Protocol):
    """A device that runs native/cuda/engine.cu.

    Attributes:
        name: of the device, for people.
        bus_id: which of its node's devices it is, whatever number it has for this process.
        xp: NumPy, or what has its functions for arrays on the device.
    """

    name: str
    bus_id: str
    xp: Any

    def compile(self, source: str) -> Any:
        """Return a module of the kernels in `source`."""
        ...

    def resident_blocks(self, module: Any, name: str, block: int, shared_bytes: int) -> int:
        """Return how many blocks, of `block` threads, of a kernel the device works on at the same time."""
        ...

    def launch(
        self, module: Any, name: str, grid: int, block: int, arguments: tuple[Any, ...], shared_bytes: int
    ) -> None:
        """Start `grid` blocks of `block` threads; `arguments` are arrays on the device and NumPy scalars."""
        ...

    def to_host(self, array: Any) -> np.ndarray:
        """Return an array as NumPy's, when all that was started has ended."""
        ...


class CupyDevice:
    """One GPU through CuPy. Not collective.

    Args:
        number: among the GPUs that this process sees.
    """

    def __init__(self, number: int) -> None:
        import cupy

        self.xp = cupy
        self._device = cupy.cuda.Device(number)
        self._device.use()
        attributes = self._device.attributes
        self.name: str = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
        self.bus_id: str = cupy.cuda.runtime.deviceGetPCIBusId(number)
        self.shared_bytes: int = attributes["MaxSharedMemoryPerBlockOptin"]
        self._multiprocessors: int = attributes["MultiProcessorCount"]

    def warps(self, dtype: np.dtype) -> tuple[int, int]:
        """See `Device.warps`: 64 and 128 registers a thread."""
        return (32 if dtype.itemsize == 4 else 16), 16

    def compile(self, source: str) -> Any:
        """Compile with NVRTC; CuPy keeps the result on disk."""
        return self.xp.RawModule(code=source, options=COMPILER_OPTIONS)

    def resident_blocks(self, module: Any, name: str, block: int, shared_bytes: int) -> int:
        """Return blocks per multiprocessor, as the driver counts them, times multiprocessors."""
        kernel = self._kernel(module, name, shared_bytes)
        driver = self.xp.cuda.driver
        each = driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, block, shared_bytes)
        if each < 1:
            raise NotSuitable(f"a block of it does not fit a multiprocessor of {self.name}")
        return each * self._multiprocessors

    def launch(
        self, module: Any, name: str, grid: int, block: int, arguments: tuple[Any, ...], shared_bytes: int
    ) -> None:
        """Start a kernel on the current stream."""
        self._kernel(module, name, shared_bytes)((grid,), (block,), arguments, shared_mem=shared_bytes)

    def to_host(self, array: Any) -> np.ndarray:
        """Copy an array to the host, which waits for what was started."""
        return self.xp.asnumpy(array)

    @staticmethod
    def _kernel(module: Any, name: str, shared_bytes: int) -> Any:
        kernel = module.get_function(name)
        kernel.max_dynamic_shared_size_bytes = shared_bytes
        return kernel


@cache
def find_device() -> Device:
    """Return this rank's GPU.

    Raises:
        NotSuitable: CuPy is not installed, or finds no GPU.

    Not collective.
    """
    try:
        import cupy
    except ImportError as error:
        raise NotSuitable(
            f"it needs CuPy ({error}): pip install 'hpcdistill[cuda12]' or 'hpcdistill[cuda13]', as the driver's CUDA "
            "version (nvidia-smi shows it)"
        ) from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NotSuitable(f"CuPy finds no GPU ({error})") from None
    if count == 0:
        raise NotSuitable("CuPy finds no GPU")
    return CupyDevice(local_rank() % count)


def local_rank() -> int:
    """Return this process's number among the ranks of its node, as the launcher says; 0 without one. Not collective."""
    return next((int(os.environ[name]) for name in _LOCAL_RANK_VARIABLES if name in os.environ), 0)
