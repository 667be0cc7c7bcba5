"""How warps and shared memory of a multiprocessor are dealt out to the blocks of the CUDA engine. Needs no GPU."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.device import Block, Limits
from hpcdistill.kernels.cuda_plan import Net

#: A phase of the forward pass has few tasks, most of all behind poolings, and warps wait for each other at its end.
#: Meanwhile another block is at work, where two have room. Gradients have no phases, and are faster in one block with
#: both images in shared memory (measured on an H200).
_FORWARD_BLOCKS = 2
_MOST_WARPS = 32  # of a block


@dataclass(frozen=True)
class PairBlock(Block):
    """A block that is at work on a pair of images.

    Attributes:
        images: how many of the pair it has in shared memory, the second one first.
    """

    images: int


@dataclass(frozen=True)
class Layout:
    """Blocks of `block_forward`, and of all other kernels.

    Attributes:
        scratch_size: elements of global memory for the planes of a block; 0 where they are in shared memory.
        margin: elements that may be read before and after images, wherever they are.
    """

    forward: PairBlock
    others: PairBlock
    scratch_size: int
    margin: int

    @property
    def flags(self) -> dict[str, Any]:
        """The same as constants of engine.cu."""
        return {
            "kForwardWarps": self.forward.warps, "kForwardBlocks": self.forward.blocks,
            "kForwardImages": self.forward.images, "kWarps": self.others.warps, "kImages": self.others.images,
            "kStoreShared": self.scratch_size == 0, "kMargin": self.margin,
        }  # fmt: skip


def choose_layout(
    pair: Net, variance: Net, image_shape: tuple[int, int, int], dtype: np.dtype, device: Limits
) -> Layout:
    """Return where planes and images fit; the planes come first, as they are used most.

    Raises:
        NotSuitable: nothing fits.
    """
    height, width, channels = image_shape
    store, margin = max(pair.store_size, variance.store_size), max(pair.margin, variance.margin)
    image = channels * height * width + pair.norms

    def shape(warps: int, blocks: int, planes: int) -> PairBlock | None:
        """Return a block with so many elements of planes in shared memory and as many images as fit beside them."""
        limit = min(device.shared_bytes, device.shared_bytes_in_all // blocks - device.shared_bytes_reserved)
        sizes = [dtype.itemsize * (2 * warps + planes + (n * image + 2 * margin if n else 0)) for n in range(3)]
        fitting = [n for n in range(3) if sizes[n] <= limit]
        return PairBlock(warps, blocks, sizes[fitting[-1]], fitting[-1]) if fitting else None

    near = all(shape(min(warps, _MOST_WARPS), 1, store) for warps in device.warps(dtype, near=True))
    planes = store if near else 0
    forward_warps, warps = device.warps(dtype, near=near)
    several = shape(max(1, forward_warps // _FORWARD_BLOCKS), _FORWARD_BLOCKS, planes)
    alone, others = shape(min(forward_warps, _MOST_WARPS), 1, planes), shape(warps, 1, planes)
    if others is None or alone is None:
        raise NotSuitable("the device has too little shared memory")
    return Layout(several if several and several.images else alone, others, store - planes, margin)
