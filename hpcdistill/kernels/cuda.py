"""Backend `cuda`: the fused engine of `native` on one NVIDIA GPU, compiled at run time by CuPy.

Mathematics, thresholds and what happens where they break: hpcdistill/kernels/native.py. What differs is who does what:
a block of warps works on one pair of images, a warp on a row of an offset plane, one lane per column
(native/cuda/sweep.cuh). Images and norms stay on the device as long as their handle; planes are in shared memory;
blocks and gradients are arrays of the device, which may still be at work on them when they are returned.

Every rank uses one GPU: that of its number on the node, modulo the number of GPUs, among those that the launcher shows
it (CUDA_VISIBLE_DEVICES).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.architecture import Architecture
from hpcdistill.errors import ConfigError
from hpcdistill.gpu.cupy_device import find_device
from hpcdistill.gpu.device import Block, Device, to_host
from hpcdistill.kernels.base import Handle, check_form, check_images, check_overflow, check_prepared
from hpcdistill.kernels.cuda_layout import choose_layout
from hpcdistill.kernels.cuda_plan import constants, make_nets
from hpcdistill.kernels.cuda_sweep import SLICE, CudaSweep
from hpcdistill.native import cuda as sources

#: Bound on temporary device memory, GiB; images and results come on top.
MEMORY_VARIABLE = "HPCDISTILL_CUDA_GIB"
_DEFAULT_GIB = 2.0

#: What engine.cu is made of, in order.
_SOURCES = ("angle.cuh", "sweep.cuh", "levels.cuh", "engine.cu")


class CudaBackend:
    """Kernels of any list of conv, relu, pool, flatten or gap, dense; NTK and NNGP; float32 and float64; on a GPU.

    An entry depends on its two images alone, to the last bit on one kind of device: not on the block. Images have up to
    32 columns.

    Attributes:
        device: where it computes.
        source: what was compiled.
        layout: of its blocks.
        target: name of the device.
        plane_size: elements that the forward pass of a pair leaves for its gradient.
        gradient_size: elements of the gradient of one image: its pixels, and its norms.
        temporary_bytes: bound on temporary memory.
    """

    name = "cuda"

    def __init__(
        self,
        architecture: Architecture,
        image_shape: tuple[int, int, int],
        dtype: np.dtype,
        device: Device | None = None,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self._image_shape = image_shape
        pair, variance = make_nets(architecture, image_shape)
        self.device = device or find_device()
        self.target, xp = self.device.name, self.device.xp
        self.n_norms: int = pair.norms
        self.plane_size: int = pair.store_size
        self.gradient_size: int = int(np.prod(image_shape)) + pair.norms
        self.layout = choose_layout(pair, variance, image_shape, self.dtype, self.device)
        self.source = full_source(constants(pair, variance, image_shape, self.dtype, self.layout.flags))
        self._module = self.device.compile(self.source)
        self._pair = (xp.asarray(pair.lanes), xp.asarray(np.array(pair.phases or [0], np.int32)))
        self._variance = (xp.asarray(variance.lanes), xp.asarray(np.array(variance.phases or [0], np.int32)))
        self.temporary_bytes = _temporary_bytes()

    @property
    def _image_size(self) -> int:
        return int(np.prod(self._image_shape))

    def prepare(self, images: ArrayLike) -> Handle:
        """Return a handle of `images`, (n, h, w, c), with their pixels and the norms √V at every ReLU on the device.

        Raises and promises what `NativeBackend.prepare` does. Not collective.
        """
        array = check_form(images, self._image_shape)
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(self.dtype)
        xp, n = self.device.xp, len(array)
        height, width, channels = self._image_shape
        pixels, norms = self._with_room((n, channels, height, width)), self._with_room((n, self.n_norms))
        pixels[:] = xp.asarray(array).transpose(0, 3, 1, 2)
        if self.n_norms and n:
            grid = self._grid("image_norms", n)
            self._run("image_norms", grid, *self._variance, pixels, n, norms, self._scratch(grid))
        with np.errstate(over="ignore"):
            squares = xp.square(pixels.reshape(n, self._image_size)).sum(axis=1)
        if not (xp.isfinite(norms).all() and xp.isfinite(squares).all()):
            check_overflow(check_images(array, self._image_shape, self.dtype), to_host(norms))
        return Handle(pixels.transpose(0, 2, 3, 1), (pixels, norms))

    def block(self, h1: Handle, h2: Handle) -> Any:
        """Return `K(x1_i, x2_j)`, (len(h1), len(h2)), on the device; see `KernelBackend.block`. Not collective."""
        self.check(h1, h2)
        xp, n1, n2 = self.device.xp, len(h1), len(h2)
        result = xp.empty((n1, n2), self.dtype)
        if result.size:
            self.run_forward(h1, h2, int(h1.is_same_rows(h2)), result, xp.empty(1, self.dtype), 0)
        return result

    def run_forward(self, h1: Handle, h2: Handle, same: int, result: Any, kept: Any, n_kept: int) -> None:
        """Write the block of two sets, neither of them empty, to `result`; keep planes of `n_kept` images of h1."""
        grid = self._grid("block_forward", len(h1) * len(h2))
        self._run("block_forward", grid, *self._pair, *h1.per_image, len(h1), *h2.per_image, len(h2), same, result,
                  kept, n_kept, self._scratch(grid))  # fmt: skip

    def block_vjp(self, h1: Handle, h2: Handle, cotangent: Any) -> Any:
        """Return `d/dx1 Σ cotangent ∘ K(x1, x2)`, (len(h1), h, w, c), on the device; `cotangent` is there or NumPy's.

        See `KernelBackend.block_vjp`. Not collective.
        """
        sweep = CudaSweep(self, h1, keep=False)
        sweep.choose(h2)
        sweep.add(cotangent)
        return sweep.finish()

    def sweep(self, h1: Handle) -> CudaSweep:
        """Return a sweep that keeps what it can of its forward pass; see `KernelBackend.sweep`. Not collective."""
        return CudaSweep(self, h1)

    def run_adjoint(self, h1: Handle, h2: Handle, weights: Any, kept: Any, n_kept: int, sums: Any) -> None:
        """Add the gradient of `Σ weights ∘ K` of two sets, neither of them empty, to `sums`; see `gradient_size`."""
        xp, n1, n2 = self.device.xp, len(h1), len(h2)
        slices = -(-n2 // SLICE)
        at_once = min(n1, max(1, self.temporary_bytes // (slices * self.gradient_size * self.dtype.itemsize)))
        grid = self._grid("block_adjoint", at_once * slices)
        partial = xp.empty((at_once * slices, self.gradient_size), self.dtype)
        gradients, scratch = self._gradients(grid), self._scratch(grid)
        for first in range(0, n1, at_once):
            count = min(at_once, n1 - first)
            self._run("block_adjoint", grid, *self._pair, *h1.per_image, first, count, *h2.per_image, n2, SLICE,
                      weights, kept, n_kept, partial, gradients, scratch)  # fmt: skip
            self._run("add_slices", grid, partial, count, slices, sums[first : first + count])

    def to_images(self, h1: Handle, sums: Any) -> Any:
        """Return the gradient with respect to images that `sums` over pixels and norms stand for."""
        xp, n1 = self.device.xp, len(h1)
        pixel_gradient = xp.ascontiguousarray(sums[:, : self._image_size].astype(self.dtype))
        if self.n_norms and n1:
            norm_gradient = xp.ascontiguousarray(sums[:, self._image_size :].astype(self.dtype))
            pixels, norms = h1.per_image
            found = self._with_room(norms.shape)  # the kernel finds them anew, and the handle's stay as they are
            found[:] = norms
            grid = self._grid("norms_adjoint", n1)
            self._run("norms_adjoint", grid, *self._variance, pixels, found, n1, norm_gradient, pixel_gradient,
                      self._gradients(grid), self._scratch(grid))  # fmt: skip
        height, width, channels = self._image_shape
        return xp.ascontiguousarray(pixel_gradient.reshape(n1, channels, height, width).transpose(0, 2, 3, 1))

    def check(self, h1: Handle, h2: Handle) -> None:
        """Raise `ValueError` unless both handles are this backend's. Not collective."""
        height, width, channels = self._image_shape
        check_prepared(h1, h2, self.dtype, [(channels, height, width), (self.n_norms,)])

    def _with_room(self, shape: tuple[int, ...]) -> Any:
        """Return an array on the device around which `layout.margin` elements may be read."""
        size, margin = int(np.prod(shape)), self.layout.margin
        return self.device.xp.empty(size + 2 * margin, self.dtype)[margin : margin + size].reshape(shape)

    def _block(self, kernel: str) -> Block:
        return self.layout.forward if kernel == "block_forward" else self.layout.others

    def _grid(self, kernel: str, n_tasks: int) -> int:
        """Return the number of blocks: as many as the device can hold at once, and their memory allows."""
        block = self._block(kernel)
        gradients = 0 if kernel == "block_forward" else block.warps * self.gradient_size
        each = max(1, self.dtype.itemsize * (self.layout.scratch_size + gradients))
        resident = self.device.resident_blocks(self._module, kernel, block)
        return max(1, min(n_tasks, resident, self.temporary_bytes // each))

    def _scratch(self, grid: int) -> Any:
        return self.device.xp.empty(max(1, grid * self.layout.scratch_size), self.dtype)

    def _gradients(self, grid: int) -> Any:
        return self.device.xp.empty((grid, self.layout.others.warps, self.gradient_size), self.dtype)

    def _run(self, kernel: str, grid: int, *arguments: Any) -> None:
        numbers = tuple(np.int32(a) if isinstance(a, int) else a for a in arguments)
        self.device.launch(self._module, kernel, grid, self._block(kernel), numbers)


def full_source(plan_constants: str) -> str:
    """Return one text of CUDA: the plan's types, an architecture's constants, and the engine."""
    folder = Path(sources.__file__).parent
    parts = [("plan.cuh", None), ("constants", plan_constants), *((name, None) for name in _SOURCES)]
    return "".join(_part(name, text or (folder / name).read_text(encoding="utf-8")) for name, text in parts)


def _part(name: str, text: str) -> str:
    """Return a file's text without the includes of its neighbours, and named in the compiler's messages."""
    kept = ["" if line.startswith(("#include", "#pragma once")) else line for line in text.splitlines()]
    return f'#line 1 "{name}"\n' + "\n".join(kept) + "\n"


def _temporary_bytes() -> int:
    text = os.environ.get(MEMORY_VARIABLE, str(_DEFAULT_GIB))
    try:
        gib = float(text)
    except ValueError:
        gib = 0.0
    if not 0 < gib < float("inf"):
        raise ConfigError(f"{MEMORY_VARIABLE}={text!r} is not a number of GiB above 0.")
    return int(gib * 2**30)
