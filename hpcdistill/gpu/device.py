"""What the rest of the package asks of a GPU. Array code is written for `Device.xp`, which has NumPy's functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Block:
    """Threads that are at work together.

    Attributes:
        warps: of the block.
        blocks: how many a multiprocessor is to hold at a time.
        shared_bytes: shared memory of the block.
    """

    warps: int
    blocks: int
    shared_bytes: int


class Limits(Protocol):
    """What blocks of threads may take.

    Attributes:
        shared_bytes: shared memory of a block, at most.
        shared_bytes_in_all, shared_bytes_reserved: of all blocks of a multiprocessor, and what each takes beside that.
    """

    shared_bytes: int
    shared_bytes_in_all: int
    shared_bytes_reserved: int

    def warps(self, dtype: np.dtype, *, near: bool) -> tuple[int, int]:
        """Return the warps on a multiprocessor that evaluate kernels alone, and any others, as its registers allow.

        Args:
            near: whether planes are in shared memory, and not in global memory, for which more warps have to wait.
        """
        ...


class Device(Limits, Protocol):
    """A device that holds arrays, runs native/cuda/engine.cu, and factors matrices. Not collective.

    What is started runs in the order it was started in, and may still run when the call returns. Arrays of the device
    and NumPy's do not mix: `xp.asarray` brings one here, `to_host` takes one back.

    Attributes:
        name: of the device, for people.
        bus_id: which of its node's devices it is, whatever number it has for this process.
        memory_bytes: of the device, in all.
        ranks: how many ranks share it.
        xp: CuPy, or what has its functions for arrays on the device.
    """

    name: str
    bus_id: str
    memory_bytes: int
    ranks: int
    xp: Any

    def compile(self, source: str) -> Any:
        """Return a module of the kernels in `source`."""
        ...

    def resident_blocks(self, module: Any, name: str, block: Block) -> int:
        """Return how many such blocks of a kernel the device works on at the same time."""
        ...

    def launch(self, module: Any, name: str, grid: int, block: Block, arguments: tuple[Any, ...]) -> None:
        """Start `grid` blocks of a kernel; `arguments` are arrays on the device and NumPy scalars."""
        ...

    def synchronize(self) -> None:
        """Wait until all that was started has ended; what failed on the way is raised here."""
        ...

    def seconds_of(self, call: Callable[[], object]) -> float:
        """Return how long the device is at what `call` starts, by its own clock."""
        ...

    def pinned(self, size: int, dtype: np.dtype) -> np.ndarray:
        """Return host memory (size,) that copies reach at full speed. It is the same memory at every call."""
        ...

    def cholesky(self, matrix: Any) -> Any:
        """Return the lower triangular L of A = L Lᵀ, with zeros above; `matrix`, (n, n) float64, is left as it is.

        Raises:
            numpy.linalg.LinAlgError: A is not positive definite.
        """
        ...

    def solve_triangular(self, lower: Any, rhs: Any, *, transposed: bool) -> Any:
        """Return L⁻¹ rhs, or L⁻ᵀ rhs, for `rhs` (n, k) float64."""
        ...


def to_host(array: Any) -> np.ndarray:
    """Return an array of a device, or one of NumPy as it is, as NumPy's, when all that was started has ended."""
    return array if isinstance(array, np.ndarray) else array.get()
