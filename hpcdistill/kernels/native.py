"""Backend `native`: exact kernels of convolutional networks by a fused engine in C++, on CPUs.

With S the covariance of a pixel p of x1 with a pixel q of x2, T the tangent kernel, n1 and n2 the norms √V of p and q:

    conv    S ← W²/9 Σ S + b²,   T ← W²/9 Σ T + S_new      (sums over the 3×3 window shifted in both images)
    ReLU    c = S/(n1 n2),  S' = S f0 + n1 n2 √(1−c²)/2π,  T' = T f0,   f0 = (π − arccos c)/2π
    pool, flatten, gap: means;   dense: as conv, without a window

and the derivatives at a ReLU

    ∂S'/∂S = f0   ∂S'/∂log n1 = n1 n2 √(1−c²)/2π   ∂T'/∂S = T/(2π n1 n2 √(1−c²))   ∂T'/∂log n1 = −S ∂T'/∂S

Source: arXiv:1912.02803, arXiv:1904.11955. No approximation is made. Three facts make it fast: the offset q − p is
conserved between poolings, so that the covariances of one offset are a small image of their own; `flatten` reads
offset 0 alone, so that only small offsets matter before it; pairs of images share everything but the data, so that
SIMD lanes hold pairs.

Where it breaks: at c = ±1 the factor 1/√(1−c²) is infinite. It counts as 0 where 1−c² < 1e-12 (float64) or 1e-6
(float32), which is the symmetric derivative. 1−|c| < 2⁻⁵⁰ (float64) or 2⁻²¹ (float32) counts as 0, so that equal
patches are exactly that, whichever images they come from. Where V = 0, θ = π/2, as in neural-tangents.
"""

from __future__ import annotations

import os

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.architecture import Architecture
from hpcdistill.errors import ConfigError, NotSuitable
from hpcdistill.kernels.base import Handle, check_images, check_overflow, check_prepared
from hpcdistill.kernels.native_sweep import NativeSweep, engine_arrays
from hpcdistill.native import _engine

#: Bound on the temporary memory of one thread.
BYTES_PER_THREAD = 64 * 2**20

#: Forces the instruction set: one of `supported_targets()`.
TARGET_VARIABLE = "HPCDISTILL_NATIVE_TARGET"

_MAX_LEVELS, _MAX_UNITS = 16, 64


class NativeBackend:
    """Kernels of any list of conv, relu, pool, flatten or gap, dense; NTK and NNGP; float32 and float64.

    An entry K(x1, x2) depends on these two images alone, to the last bit among CPUs of one instruction set: not on the
    block nor on the number of threads. (K(x2, x1) adds up in another order; a block of one set with itself computes
    one of the two.) `threads` follows OMP_NUM_THREADS; threads share the work by small tiles and hold at most
    `BYTES_PER_THREAD` of temporary memory each.

    Attributes:
        target: instruction set in use, "avx512", "avx2" or "baseline" (SSE2 on x86-64, NEON on AArch64). The widest
            that the CPU has and whose temporary memory fits; the environment variable `TARGET_VARIABLE` forces one.
        threads: threads a call uses.
        temporary_bytes: memory of a call besides images and results.
        spare: memory of the last sweep, for the next one.
    """

    name = "native"
    device = None

    def __init__(self, architecture: Architecture, image_shape: tuple[int, int, int], dtype: np.dtype) -> None:
        if architecture.n_poolings + 2 > _MAX_LEVELS or len(architecture.layers) > _MAX_UNITS:
            raise NotSuitable(f"it takes up to {_MAX_UNITS} layers and {_MAX_LEVELS - 2} poolings")
        self.dtype = np.dtype(dtype)
        self.threads = thread_count()
        self._image_shape = image_shape
        self.spare = np.empty(0, np.uint8)
        self.target, self._engine = _widest_engine(architecture, image_shape, self.dtype)
        self.temporary_bytes = self.threads * self._engine.bytes_per_thread

    def prepare(self, images: ArrayLike) -> Handle:
        """Return a handle of `images`, (n, h, w, c), with the norms √V of every pixel at every ReLU.

        Raises and promises what `KernelBackend.prepare` does, and

        Raises:
            InputError: float32 and pixels so large that their squares overflow → float64 or smaller pixels.

        Not collective.
        """
        array = check_images(images, self._image_shape, self.dtype)
        norms = np.empty((len(array), self._engine.n_norms), self.dtype)
        self._engine.norms(array, norms, self.threads)
        check_overflow(array, norms)
        return Handle(array, (norms,))

    def block(self, h1: Handle, h2: Handle) -> np.ndarray:
        """Return `K(x1_i, x2_j)`, (len(h1), len(h2)); see `KernelBackend.block`. Not collective."""
        self.check(h1, h2)
        result = np.empty((len(h1), len(h2)), self.dtype)
        self._engine.block(*engine_arrays(h1), *engine_arrays(h2), h1.is_same_rows(h2), result, self.threads)
        return result

    def block_vjp(self, h1: Handle, h2: Handle, cotangent: np.ndarray) -> np.ndarray:
        """Return `d/dx1 Σ cotangent ∘ K(x1, x2)`, (len(h1), h, w, c); see `KernelBackend.block_vjp`. Not collective."""
        sweep = NativeSweep(self, self._engine, h1, keep=False)
        sweep.choose(h2)
        sweep.add(cotangent)
        return sweep.finish()

    def sweep(self, h1: Handle) -> NativeSweep:
        """Return a sweep that keeps what it can of its forward pass; see `KernelBackend.sweep`. Not collective."""
        return NativeSweep(self, self._engine, h1)

    def check(self, h1: Handle, h2: Handle) -> None:
        """Raise `ValueError` unless both handles are this backend's. Not collective."""
        check_prepared(h1, h2, self.dtype, [(self._engine.n_norms,)])


def supported_targets() -> tuple[str, ...]:
    """Return the instruction sets of this build that this CPU can run, the widest first. Not collective."""
    return tuple(_engine.supported_targets())


def thread_count() -> int:
    """Return the number of threads of this process: OMP_NUM_THREADS, or the cores it may use. Not collective.

    Raises:
        ConfigError: OMP_NUM_THREADS is not a positive number.
    """
    text = os.environ.get("OMP_NUM_THREADS") or str(len(os.sched_getaffinity(0)))
    first = text.split(",")[0].strip()
    if not first.isdecimal() or int(first) < 1:
        raise ConfigError(f"OMP_NUM_THREADS={text!r} is not a number of threads: set it to 1 or more, or unset it.")
    return int(first)


def _widest_engine(
    architecture: Architecture, image_shape: tuple[int, int, int], dtype: np.dtype
) -> tuple[str, _engine.Engine32 | _engine.Engine64]:
    """Return the first instruction set whose memory per thread is within bounds, and its engine."""
    make = _engine.Engine32 if dtype == np.float32 else _engine.Engine64
    for target in _targets():
        engine = make(
            list(architecture.layers),
            *image_shape,
            architecture.kind == "ntk",
            architecture.w_std**2,
            architecture.b_std**2,
            target,
        )
        if engine.bytes_per_thread <= BYTES_PER_THREAD:
            return target, engine
    needed = engine.bytes_per_thread / 2**20
    raise NotSuitable(f"images this large need {needed:.0f} MiB per thread, more than {BYTES_PER_THREAD >> 20} MiB")


def _targets() -> tuple[str, ...]:
    """Return the instruction sets to try, in order."""
    forced = os.environ.get(TARGET_VARIABLE)
    if not forced:
        return supported_targets()
    if forced not in supported_targets():
        raise ConfigError(
            f"{TARGET_VARIABLE}={forced!r} is not possible here. Valid on this CPU: {', '.join(supported_targets())}."
        )
    return (forced,)
