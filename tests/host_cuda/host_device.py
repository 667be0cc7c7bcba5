"""A device that runs the CUDA engine's source on the CPU, compiled by the system's C++ compiler."""

import ctypes
import time
from pathlib import Path

import numpy as np
from compiled import shared_library
from host_cuda.arrays import DeviceArray, HostArrays, cholesky, solve_triangular

FOLDER = Path(__file__).parent
KERNELS = ("image_norms", "block_forward", "block_adjoint", "add_slices", "norms_adjoint")
FLAGS = ("-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing", "-U_FORTIFY_SOURCE")


class HostDevice:
    """What `hpcdistill.gpu.device.Device` asks for, with fibers in place of threads."""

    name, bus_id = "fibers on a CPU", "host"
    cholesky, solve_triangular = staticmethod(cholesky), staticmethod(solve_triangular)

    def __init__(self, warps=(4, 2), shared_bytes=200 * 1024, blocks=3, seed=0, guard_before=False, memory_bytes=2**30):
        self.xp = HostArrays(guard_before)
        self.shared_bytes, self.memory_bytes, self.ranks = shared_bytes, memory_bytes, 1
        self.shared_bytes_in_all, self.shared_bytes_reserved = shared_bytes + 1024, 1024
        self._warps, self._blocks, self._seed = warps, blocks, seed

    def warps(self, dtype, *, near):
        return self._warps

    def compile(self, source):
        return ctypes.CDLL(str(shared_library(_whole(source), FOLDER / "cuda_on_host.hpp", *FLAGS)))

    def resident_blocks(self, module, name, block):
        return self._blocks

    def launch(self, module, name, grid, block, arguments):
        assert block.shared_bytes <= self.shared_bytes
        held = [_argument(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(a) for a in held))
        if module.launch(name.encode(), grid, 32 * block.warps, self._seed, pointers) != 0:
            raise RuntimeError(f"{name}: threads wait for others that do not come")

    def synchronize(self):
        pass

    def seconds_of(self, call):
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    def pinned(self, size, dtype):
        return np.full(size, np.nan, dtype)


def _argument(value):
    """Return an argument as the kernel takes it: an address, or a number of 32 bits."""
    if isinstance(value, DeviceArray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.__cuda_array_interface__["data"][0])
    assert isinstance(value, np.int32)
    return ctypes.c_int32(value)


def _whole(source):
    cases = "\n".join(
        f'  if (name == "{kernel}") return cuda_on_host::launch({kernel}, grid, block, seed, arguments);'
        for kernel in KERNELS
    )
    return f"""#include "cuda_on_host.hpp"
#include <string>
{source}
extern "C" int launch(const char* kernel, unsigned grid, unsigned block, unsigned seed, void** arguments) {{
  const std::string name = kernel;
{cases}
  return 2;
}}
"""
