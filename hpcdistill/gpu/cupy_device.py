"""The GPU of this rank through CuPy, which is imported when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.device import Block, Device

#: Where launchers say which of its node's ranks this is.
_LOCAL_RANK_VARIABLES = ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID")

#: What brings CuPy and all that it needs but the driver.
_INSTALL = (
    "pip install 'hpcdistill[cuda12]' or 'hpcdistill[cuda13]', as the driver's CUDA version (nvidia-smi shows it)"
)

#: Numbers below the normal ones count as zero: square roots and reciprocals then need no branch for them.
COMPILER_OPTIONS = ("-std=c++17", "--ftz=true")


class CupyDevice:
    """One GPU through CuPy, see `Device`. Not collective.

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
        self.memory_bytes: int = self._device.mem_info[1]
        self.shared_bytes: int = attributes["MaxSharedMemoryPerBlockOptin"]
        self.shared_bytes_in_all: int = attributes["MaxSharedMemoryPerMultiprocessor"]
        self.shared_bytes_reserved: int = attributes["ReservedSharedMemoryPerBlock"]
        self._multiprocessors: int = attributes["MultiProcessorCount"]
        self._pinned = np.empty(0, np.uint8)
        self.ranks = 1
        self._kernels: dict[tuple[Any, str, Block], Any] = {}
        self._resident: dict[tuple[Any, str, Block], int] = {}

    def warps(self, dtype: np.dtype, *, near: bool) -> tuple[int, int]:
        """See `Limits.warps`: 48 to 128 registers a thread. The fastest of those measured on an H200."""
        if dtype.itemsize > 4:
            return 16, 16
        return (32, 16) if near else (40, 24)

    def compile(self, source: str) -> Any:
        """Compile with NVRTC; CuPy keeps the result on disk.

        Raises:
            NotSuitable: CuPy does not find, or cannot use, the libraries of the CUDA toolkit; or NVRTC refuses.
        """
        module = self.xp.RawModule(code=source, options=COMPILER_OPTIONS)
        try:
            module.compile()
        except Exception as error:  # of several kinds, as to what is missing
            remedy = "" if _is_refused(error) else f"; CUDA's libraries come with {_INSTALL}"
            raise NotSuitable(
                f"CuPy cannot compile for {self.name} ({_cause(error)}){remedy}", unexpected=True
            ) from error
        return module

    def resident_blocks(self, module: Any, name: str, block: Block) -> int:
        """Return blocks per multiprocessor, as the driver counts them, times multiprocessors."""
        if (module, name, block) in self._resident:
            return self._resident[module, name, block]
        kernel, driver = self._kernel(module, name, block), self.xp.cuda.driver
        each = driver.occupancyMaxActiveBlocksPerMultiprocessor(kernel.kernel.ptr, 32 * block.warps, block.shared_bytes)
        if each < 1:
            raise NotSuitable(f"a block of it does not fit a multiprocessor of {self.name}")
        self._resident[module, name, block] = each * self._multiprocessors
        return each * self._multiprocessors

    def launch(self, module: Any, name: str, grid: int, block: Block, arguments: tuple[Any, ...]) -> None:
        """Start a kernel on the current stream."""
        kernel = self._kernel(module, name, block)
        kernel((grid,), (32 * block.warps,), arguments, shared_mem=block.shared_bytes)

    def synchronize(self) -> None:
        """Wait for the current stream."""
        self.xp.cuda.get_current_stream().synchronize()

    def seconds_of(self, call: Callable[[], object]) -> float:
        """Time between two events in the stream, before and after `call`."""
        start, stop = self.xp.cuda.Event(), self.xp.cuda.Event()
        start.record()
        call()
        stop.record()
        stop.synchronize()
        return 1e-3 * self.xp.cuda.get_elapsed_time(start, stop)

    def pinned(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Page-locked memory, enlarged where it has to be."""
        import cupyx

        if self._pinned.nbytes < size * dtype.itemsize:
            self._pinned = cupyx.empty_pinned(size * dtype.itemsize, np.uint8)
        return self._pinned[: size * dtype.itemsize].view(dtype)

    def cholesky(self, matrix: Any) -> Any:
        """By cuSOLVER's potrf."""
        import cupyx

        with cupyx.errstate(linalg="raise"):
            return self.xp.linalg.cholesky(matrix)

    def solve_triangular(self, lower: Any, rhs: Any, *, transposed: bool) -> Any:
        """By cuBLAS' trsm, which wants columns: those of Lᵀ are where L has its rows, so that nothing is copied."""
        from cupyx.scipy.linalg import solve_triangular

        return solve_triangular(lower.T, rhs, trans="N" if transposed else "T", lower=False)

    def _kernel(self, module: Any, name: str, block: Block) -> Any:
        """Return a kernel for which a multiprocessor has the shared memory of its blocks; the rest is cache."""
        if (module, name, block) in self._kernels:
            return self._kernels[module, name, block]
        kernel = module.get_function(name)
        kernel.max_dynamic_shared_size_bytes = block.shared_bytes
        wanted = block.blocks * (block.shared_bytes + self.shared_bytes_reserved)
        kernel.preferred_shared_memory_carveout = min(100, -(-100 * wanted // self.shared_bytes_in_all))
        self._kernels[module, name, block] = kernel
        return kernel


def _is_refused(error: Exception) -> bool:
    """Whether it is NVRTC that does not take the source, and not that it is missing."""
    return type(error).__name__ == "CompileException"


def _cause(error: Exception) -> str:
    """Return the lines of an error that say what is wrong, as one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    return "; ".join([line for line in lines if "error" in line.lower()][:3] or lines[:1])


@cache
def find_device() -> Device:
    """Return this rank's GPU.

    Raises:
        NotSuitable: CuPy is not installed, or finds no GPU, or the GPU fails.

    Not collective.
    """
    try:
        import cupy
    except ImportError as error:
        raise NotSuitable(f"it needs CuPy ({error}): {_INSTALL}") from None
    try:
        count = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise NotSuitable(f"CuPy finds no GPU ({error})", unexpected=True) from None
    if count == 0:
        raise NotSuitable("CuPy finds no GPU", unexpected=True)
    try:
        return CupyDevice(local_rank() % count)
    except cupy.cuda.runtime.CUDARuntimeError as error:  # as where another process has it alone, or it is broken
        raise NotSuitable(f"the GPU cannot be used ({error})", unexpected=True) from None


def local_rank() -> int:
    """Return this process's number among the ranks of its node, as the launcher says; 0 without one. Not collective."""
    return next((int(os.environ[name]) for name in _LOCAL_RANK_VARIABLES if name in os.environ), 0)
