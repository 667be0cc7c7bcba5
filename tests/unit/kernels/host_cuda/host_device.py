"""A device that runs the CUDA engine's source on the CPU, compiled by the system's C++ compiler."""

import ctypes
import hashlib
import math
import mmap
import subprocess
import tempfile
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).parent
KERNELS = ("image_norms", "block_forward", "block_adjoint", "add_slices", "norms_adjoint")
_BUILT = Path(tempfile.mkdtemp(prefix="cuda-on-host-"))


class GuardedArrays:
    """NumPy's functions that the backend uses; whoever touches memory beside one of these arrays ends with a fault.

    Args:
        before: whether what cannot be touched is right before the array, or right after it.
    """

    def __init__(self, before):
        self._before = before
        self._mprotect = ctypes.CDLL(None, use_errno=True).mprotect

    def empty(self, shape, dtype):
        dtype = np.dtype(dtype)
        shape = (shape,) if isinstance(shape, int) else shape
        size = math.prod(shape) * dtype.itemsize
        room = max(1, -(-size // mmap.PAGESIZE)) * mmap.PAGESIZE
        region = mmap.mmap(-1, room + 2 * mmap.PAGESIZE)
        address = ctypes.addressof(ctypes.c_char.from_buffer(region))
        for guard in (address, address + mmap.PAGESIZE + room):
            assert self._mprotect(ctypes.c_void_p(guard), mmap.PAGESIZE, 0) == 0
        start = mmap.PAGESIZE if self._before else mmap.PAGESIZE + room - size
        return np.frombuffer(region, dtype, math.prod(shape), start).reshape(shape)

    def zeros(self, shape, dtype):
        array = self.empty(shape, dtype)
        array[...] = 0
        return array

    def asarray(self, array):
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    ascontiguousarray = asarray
    square, isfinite = staticmethod(np.square), staticmethod(np.isfinite)


class HostDevice:
    """What `hpcdistill.kernels.cuda_device.Device` asks for, with fibers in place of threads."""

    name, bus_id = "fibers on a CPU", "host"

    def __init__(self, warps=(3, 2), shared_bytes=200 * 1024, blocks=3, seed=0, guard_before=False):
        self.xp = GuardedArrays(guard_before)
        self.shared_bytes = shared_bytes
        self._warps, self._blocks, self._seed = warps, blocks, seed

    def warps(self, dtype):
        return self._warps

    def compile(self, source):
        path = _BUILT / f"{hashlib.sha256(source.encode()).hexdigest()[:16]}.so"
        if not path.exists():
            path.with_suffix(".cpp").write_text(_whole(source))
            command = ["g++", "-std=c++17", "-O1", "-march=native", "-ffp-contract=off", "-fno-strict-aliasing",
                       "-shared", "-fPIC", "-U_FORTIFY_SOURCE", "-w", f"-I{FOLDER}", "-o", path,
                       path.with_suffix(".cpp")]  # fmt: skip
            subprocess.run(command, check=True, timeout=300)
        return ctypes.CDLL(str(path))

    def resident_blocks(self, module, name, block, shared_bytes):
        return self._blocks

    def launch(self, module, name, grid, block, arguments, shared_bytes):
        assert shared_bytes <= self.shared_bytes
        held = [_argument(a) for a in arguments]
        pointers = (ctypes.c_void_p * len(held))(*(ctypes.addressof(a) for a in held))
        if module.launch(name.encode(), grid, block, self._seed, pointers) != 0:
            raise RuntimeError(f"{name}: threads wait for others that do not come")

    def to_host(self, array):
        return array


def _argument(value):
    """Return an argument as the kernel takes it: an address, or a number of 32 bits."""
    if isinstance(value, np.ndarray):
        assert value.flags.c_contiguous
        return ctypes.c_void_p(value.ctypes.data)
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
