"""Arrays that are kept as far from NumPy's as those of a GPU are.

They have what `cupy.ndarray` and `cupy` have and this package uses, and nothing else; what they refuse, CuPy refuses:
to meet an array of NumPy's, to become one unasked. Whoever touches memory beside one that was made by `HostArrays` ends
with a fault, and one that is `empty` holds NaN.
"""

import ctypes
import math
import mmap
import operator

import numpy as np
import scipy.linalg


class DeviceArray:
    """An array of a device that is not there."""

    __array_ufunc__ = None  # NumPy's operators give way, or raise

    def __init__(self, memory):
        self._memory = memory

    def __array__(self, *_, **__):
        raise TypeError("arrays of a device are not converted to NumPy's unasked")

    shape, dtype, ndim, size, nbytes, flags = (
        property(lambda self, name=name: getattr(self._memory, name))
        for name in ("shape", "dtype", "ndim", "size", "nbytes", "flags")
    )
    T = property(lambda self: DeviceArray(self._memory.T))

    @property
    def __cuda_array_interface__(self):
        memory = self._memory
        strides = None if memory.flags.c_contiguous else memory.strides
        return {"shape": memory.shape, "typestr": memory.dtype.str, "data": (memory.ctypes.data, False),
                "strides": strides, "version": 3}  # fmt: skip

    def __len__(self):
        return len(self._memory)

    def __getitem__(self, index):
        _check_index(index)
        return DeviceArray(np.asarray(self._memory[index]) if np.isscalar(self._memory[index]) else self._memory[index])

    def __setitem__(self, index, value):
        _check_index(index)
        self._memory[index] = _operand(value)

    def __float__(self):
        return float(self._memory)

    def __bool__(self):
        return bool(self._memory)

    def get(self, out=None):
        if out is None:
            return self._memory.copy(order="C")
        assert out.dtype == self.dtype
        assert out.shape == self.shape
        out[...] = self._memory
        return out

    def set(self, array):
        assert isinstance(array, np.ndarray)
        assert array.dtype == self.dtype
        assert array.shape == self.shape
        self._memory[...] = array

    def _method(name):
        def call(self, *arguments, **options):
            return DeviceArray(np.asarray(getattr(self._memory, name)(*arguments, **options)))

        return call

    reshape, astype, transpose, sum, all, max, argmax = map(
        _method, ("reshape", "astype", "transpose", "sum", "all", "max", "argmax")
    )

    def _operator(function):
        def call(self, other):
            return DeviceArray(np.asarray(function(self._memory, _operand(other))))

        return call

    __add__, __sub__, __mul__, __truediv__, __matmul__, __eq__ = map(
        _operator, (operator.add, operator.sub, operator.mul, operator.truediv, operator.matmul, operator.eq)
    )
    __radd__, __rmul__ = __add__, __mul__
    __hash__ = None

    def __neg__(self):
        return DeviceArray(-self._memory)

    def __iadd__(self, other):
        self._memory += _operand(other)
        return self

    def __isub__(self, other):
        self._memory -= _operand(other)
        return self

    def __imul__(self, other):
        self._memory *= _operand(other)
        return self


def _check_index(index):
    for part in index if isinstance(index, tuple) else (index,):
        assert isinstance(part, int | np.integer | slice), f"{part!r}: not what is indexed with here"


def _operand(value):
    if isinstance(value, DeviceArray):
        return value._memory
    if np.isscalar(value):
        return value
    raise TypeError(f"{type(value).__name__} does not meet arrays of a device")


class HostArrays:
    """Functions of `cupy` for `DeviceArray`.

    Args:
        before: whether what cannot be touched is right before an array, or right after it.
    """

    def __init__(self, before):
        self._before = before
        self._mprotect = ctypes.CDLL(None, use_errno=True).mprotect

    def _guarded(self, shape, dtype):
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

    def _filled(self, shape, dtype, value):
        memory = self._guarded(shape, dtype)
        memory[...] = value
        return DeviceArray(memory)

    def empty(self, shape, dtype):
        return self._filled(shape, dtype, np.nan if np.dtype(dtype).kind == "f" else -1)

    def zeros(self, shape, dtype):
        return self._filled(shape, dtype, 0)

    def eye(self, n):
        return self.asarray(np.eye(n))

    def arange(self, n, dtype):
        return self.asarray(np.arange(n, dtype=dtype))

    def asarray(self, array, dtype=None):
        dtype = dtype or array.dtype
        if isinstance(array, DeviceArray):
            return array if array.dtype == dtype else array.astype(dtype)
        return self._filled(array.shape, dtype, array)

    def ascontiguousarray(self, array):
        return array if array.flags.c_contiguous else self._filled(array.shape, array.dtype, array._memory)

    def square(self, array):
        return DeviceArray(np.square(array._memory))

    def exp(self, array):
        return DeviceArray(np.exp(array._memory))

    def log(self, array):
        return DeviceArray(np.asarray(np.log(array._memory)))

    def isfinite(self, array):
        return DeviceArray(np.isfinite(array._memory))

    def trace(self, array):
        return DeviceArray(np.asarray(np.trace(array._memory)))


def cholesky(matrix):
    """See `Device.cholesky`."""
    return DeviceArray(np.linalg.cholesky(matrix._memory))


def solve_triangular(lower, rhs, *, transposed):
    """See `Device.solve_triangular`."""
    solution = scipy.linalg.solve_triangular(lower._memory, rhs._memory, trans=int(transposed), lower=True)
    return DeviceArray(np.asfortranarray(solution))  # as cuBLAS leaves it
