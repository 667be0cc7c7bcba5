"""Backend `fc`: kernels of fully connected networks, in closed form, from one matrix of inner products."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.architecture import Architecture
from hpcdistill.errors import NotSuitable
from hpcdistill.kernels.base import Handle, check_cotangent, check_images, check_overflow, check_pair
from hpcdistill.kernels.fully_connected_sweep import TapedTile, make_sweep
from hpcdistill.kernels.relu_chain import Pairs, ReluChain, ReluRecord
from hpcdistill.kernels.sweep import Sweep
from hpcdistill.kernels.tiling import tiles
from hpcdistill.triangles import mirror_upper

#: Bound on the temporary memory of one call, besides its result.
TEMPORARY_BYTES = 64 * 2**20

_COLUMNS = 512
_ROWS = 128


class FullyConnectedBackend:
    """Kernels of `flatten`, then any sequence of `dense` and `relu`; NTK and NNGP; float32 and float64.

    BLAS computes the inner products; the rest is pointwise, tile by tile, so that temporary memory stays below
    `TEMPORARY_BYTES` whatever the size of the block. Pairs of an image with itself (rows of one prepared set) have
    c = 1 exactly. See `hpcdistill.kernels.relu_chain` for the formulas and what happens at c = ±1 and V = 0.

    Accuracy relative to the largest entry (tests/unit/kernels/test_backend_contract.py, networks of up to 10 layers):
    blocks 1e-15 (float64) and 5e-7 (float32), gradients 2e-14 and 1e-6. Where an image meets an equal one of another
    prepared set, the angle is the square root of rounding: 1e-8 and 1e-3, in the gradient 3e-8 and 5e-4.
    5000 × 100 pairs of 32×32×3, FC1, two cores: block 0.05 s, vjp 0.09 s (float64); half of that in float32.
    """

    name = "fc"
    device = None
    temporary_bytes = TEMPORARY_BYTES
    is_quick = True

    def __init__(self, architecture: Architecture, image_shape: tuple[int, int, int], dtype: np.dtype) -> None:
        if not architecture.is_fully_connected:
            raise NotSuitable("it computes fully connected networks only (flatten, dense, relu)")
        self.dtype = np.dtype(dtype)
        self._image_shape = image_shape
        self._n_pixels = int(np.prod(image_shape))
        self._chain = ReluChain(architecture)
        self._rows, self._columns = self._tile_shape()

    def prepare(self, images: ArrayLike) -> Handle:
        """Return a handle of `images`, (n, h, w, c), with its variance <x,x>/d and its norms at every ReLU.

        Raises and promises what `KernelBackend.prepare` does. Not collective.
        """
        array = check_images(images, self._image_shape, self.dtype)
        flat = self._flat(array)
        variance = np.einsum("ij,ij->i", flat, flat) / self.dtype.type(self._n_pixels)
        norms = self._chain.norms(variance)
        if not (np.isfinite(variance).all() and np.isfinite(norms).all()):
            check_overflow(array, norms)
        return Handle(array, (variance, norms))

    def block(self, h1: Handle, h2: Handle) -> np.ndarray:
        """Return `K(x1_i, x2_j)`, (len(h1), len(h2)); see `KernelBackend.block`. Not collective."""
        check_pair(h1, h2)
        result = np.empty((len(h1), len(h2)), self.dtype)
        symmetric = h1.is_same_rows(h2)
        for rows, columns in tiles(len(h1), len(h2), self._rows, self._columns, upper=symmetric):
            result[rows, columns] = self._tile(h1[rows], h2[columns])
        if symmetric:
            mirror_upper(result)
        return result

    def sweep(self, h1: Handle) -> Sweep:
        """Return a sweep; see `KernelBackend.sweep`. Not collective."""
        return make_sweep(self, h1, self._chain.n_relu)

    def block_vjp(self, h1: Handle, h2: Handle, cotangent: np.ndarray) -> np.ndarray:
        """Return `d/dx1 Σ cotangent ∘ K(x1, x2)`, (len(h1), h, w, c); see `KernelBackend.block_vjp`. Not collective.

        Source: the derivatives of the arc-cosine kernels; 1/√(1−c²) counts as 0 below `SINGULAR_BELOW`.
        """
        check_pair(h1, h2)
        return self.pull_back(h1, h2, cotangent, self.taped(h1, h2))

    def taped(self, h1: Handle, h2: Handle) -> Iterator[TapedTile]:
        """Yield all tiles of `block`, and of each what its gradient needs. Not collective."""
        for rows, columns in tiles(len(h1), len(h2), self._rows, self._columns):
            tape: list[ReluRecord] = []
            yield rows, columns, self._tile(h1[rows], h2[columns], tape), tape

    def pull_back(self, h1: Handle, h2: Handle, cotangent: np.ndarray, taped: Iterable[TapedTile]) -> np.ndarray:
        """Return `block_vjp` from the tiles of `taped`. Not collective."""
        cotangent = check_cotangent(cotangent, h1, h2)
        gradient = np.zeros(h1.images.shape, self.dtype)
        flat = self._flat(gradient)
        g_norms = np.zeros((len(h1), self._chain.n_relu), self.dtype)
        for rows, columns, _, tape in taped:
            norms1, norms2 = h1.per_image[1][rows], h2.per_image[1][columns]
            gs, g_norms_tile = self._chain.reverse(cotangent[rows, columns], tape, norms1, norms2)
            g_norms[rows] += g_norms_tile
            flat[rows] += gs @ self._flat(h2.images[columns])
        g_variance = self._chain.norms_vjp(h1.per_image[1], g_norms)
        for rows, _ in tiles(len(h1), 1, self._rows, 1):
            flat[rows] += 2 * g_variance[rows, None] * self._flat(h1.images[rows])
        gradient /= self.dtype.type(self._n_pixels)
        return gradient

    def _tile(self, h1: Handle, h2: Handle, tape: list[ReluRecord] | None = None) -> np.ndarray:
        s = self._flat(h1.images) @ self._flat(h2.images).T
        s /= self.dtype.type(self._n_pixels)
        same = _same_image(h1, h2)
        s[same] = h1.per_image[0][same[0]]
        return self._chain.forward(s, h1.per_image[1], h2.per_image[1], same, tape)

    def _flat(self, images: np.ndarray) -> np.ndarray:
        return images.reshape(len(images), self._n_pixels)

    def _tile_shape(self) -> tuple[int, int]:
        """Return rows and columns of a tile: the tape takes half of the temporary memory, tiles × images the rest."""
        half = TEMPORARY_BYTES // 2 // self.dtype.itemsize
        rows = max(1, min(_ROWS, half // (2 * self._n_pixels)))
        arrays_per_tile = 4 * self._chain.n_relu + 8
        return rows, max(1, min(_COLUMNS, half // (rows * arrays_per_tile)))


def _same_image(h1: Handle, h2: Handle) -> Pairs:
    """Return the positions (i, j) at which both handles hold the same row of the same prepared set."""
    offset = h1.offset_in(h2)
    if offset is None:
        return np.empty(0, int), np.empty(0, int)
    rows = np.arange(max(0, -offset), max(0, -offset, min(len(h1), len(h2) - offset)))
    return rows, rows + offset
