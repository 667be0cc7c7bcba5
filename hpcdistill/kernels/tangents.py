"""Backend `tangents`: kernels of any architecture by neural-tangents (arXiv:1912.02803), on the CPU.

`bench kernels --backend cuda` runs it on the GPU, where JAX has one.
"""

from __future__ import annotations

from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.architecture import Architecture
from hpcdistill.kernels.base import Handle, check_cotangent, check_images, check_pair
from hpcdistill.kernels.jax_cache import enable_compilation_cache
from hpcdistill.kernels.sweep import RepeatedSweep
from hpcdistill.kernels.tangents_import import import_stax
from hpcdistill.kernels.tiling import tiles
from hpcdistill.triangles import mirror_upper

#: Bounds on the temporary memory of one tile, wherever one pair of images needs less than that.
TEMPORARY_BYTES, TEMPORARY_BYTES_ON_GPU = 384 * 2**20, 8 * 2**30

# neural-tangents carries float64 covariances of (h·w)² pixel pairs for every pair of images; XLA keeps about this many
# of them at once (measured: ConvNet, 32×32×3, tiles of 1×2 and 2×2).
_ARRAYS_FORWARD, _ARRAYS_VJP = 7, 22
# One such array of a tile is fastest where it just fits a core's cache; below 4 pairs the covariances of each image
# with itself, computed per tile, cost more than that.
_CACHED_ELEMENTS = 200_000
_LEAST_PAIRS = 4


class TangentsBackend:
    """Kernels of any `Architecture`, NTK and NNGP, by neural-tangents in tiles of a few compiled shapes.

    neural-tangents computes in float64 whatever the input's type (in JAX's 64-bit mode, which is also its fastest);
    with dtype float32 inputs and results are rounded to it. Pairs of equal images are nothing special to it: c = 1 up
    to rounding there, which leaves 1e-9 in the tangent kernel and 1e-8 in its gradient (float64, relative to the
    largest entry; tests/unit/kernels/test_backend_contract.py).

    A tile computes every image's own covariances anew, so that tiles are near squares. Blocks are padded by repeated
    images to whole tiles; results do not depend on that beyond rounding: a block of some rows and columns equals the
    slice of the whole to 2e-15 relative to the largest entry (float64; same tests).

    Per pair on one core: 0.22 ms for the block and 0.4 ms for the vjp (8×8×1, three convolutions and two poolings);
    0.12 s and 0.28 s (32×32×3, ConvNet).
    """

    name = "tangents"
    device = None
    temporary_bytes = TEMPORARY_BYTES

    def __init__(self, architecture: Architecture, image_shape: tuple[int, int, int], dtype: np.dtype) -> None:
        self.dtype = np.dtype(dtype)
        self._image_shape = image_shape
        stax = import_stax()
        enable_compilation_cache()
        self._forward, self._vjp = _compiled(stax_kernel(stax, architecture), architecture.kind, self.dtype)
        self.target = _jax_device()

    def prepare(self, images: ArrayLike) -> Handle:
        """Return a handle of `images`, (n, h, w, c); see `KernelBackend.prepare`. Not collective."""
        return Handle(check_images(images, self._image_shape, self.dtype))

    def block(self, h1: Handle, h2: Handle) -> np.ndarray:
        """Return `K(x1_i, x2_j)`, (len(h1), len(h2)); see `KernelBackend.block`. Not collective."""
        check_pair(h1, h2)
        result = np.empty((len(h1), len(h2)), self.dtype)
        symmetric = h1.is_same_rows(h2)
        n_rows, n_columns = tile_shape(len(h1), len(h2), self._pairs_per_tile(_ARRAYS_FORWARD))
        for rows, columns in tiles(len(h1), len(h2), n_rows, n_columns, upper=symmetric):
            tile = self._forward(_padded(h1.images[rows], n_rows), _padded(h2.images[columns], n_columns))
            result[rows, columns] = _cut(tile, rows, columns)
        if symmetric:
            mirror_upper(result)
        return result

    def sweep(self, h1: Handle) -> RepeatedSweep:
        """Return a sweep; see `KernelBackend.sweep`. Not collective."""
        return RepeatedSweep(self, h1)

    def block_vjp(self, h1: Handle, h2: Handle, cotangent: np.ndarray) -> np.ndarray:
        """Return `d/dx1 Σ cotangent ∘ K(x1, x2)`, (len(h1), h, w, c); see `KernelBackend.block_vjp`. Not collective."""
        check_pair(h1, h2)
        cotangent = check_cotangent(cotangent, h1, h2)
        gradient = np.zeros(h1.images.shape, self.dtype)
        n_rows, n_columns = tile_shape(len(h1), len(h2), self._pairs_per_tile(_ARRAYS_VJP))
        for rows, columns in tiles(len(h1), len(h2), n_rows, n_columns):
            weights = np.zeros((n_rows, n_columns), self.dtype)
            _cut(weights, rows, columns)[:] = cotangent[rows, columns]
            tile = self._vjp(_padded(h1.images[rows], n_rows), _padded(h2.images[columns], n_columns), weights)
            gradient[rows] += np.asarray(tile)[: rows.stop - rows.start]
        return gradient

    def _pairs_per_tile(self, arrays: int) -> int:
        """Return how many pairs of images a tile should have, where XLA keeps `arrays` covariances of each at once."""
        elements = (self._image_shape[0] * self._image_shape[1]) ** 2
        if self.target is not None:  # a GPU has no use for small tiles
            return max(1, TEMPORARY_BYTES_ON_GPU // (8 * elements * arrays))
        affordable = TEMPORARY_BYTES // (8 * elements * arrays)
        return max(1, min(affordable, max(_LEAST_PAIRS, _CACHED_ELEMENTS // elements)))


def stax_kernel(stax: Any, architecture: Architecture) -> Any:
    """Return neural-tangents' `kernel_fn` of an architecture in NTK parameterisation. Not collective."""
    return stax_network(stax, architecture, 1, 1, "ntk")[2]


def stax_network(
    stax: Any, architecture: Architecture, width: int, outputs: int, parameterization: str
) -> tuple[Any, Any, Any]:
    """Return neural-tangents' `(init_fn, apply_fn, kernel_fn)` of an architecture: 3×3 SAME, 2×2 VALID.

    Args:
        width: channels of every convolution, units of every dense layer but the last.
        outputs: units of the last dense layer.
        parameterization: "ntk" or "standard", as neural-tangents defines them.

    Not collective.
    """
    weights = {"W_std": architecture.w_std, "b_std": architecture.b_std, "parameterization": parameterization}
    make = {
        "conv": lambda: stax.Conv(width, (3, 3), padding="SAME", **weights),
        "relu": stax.Relu,
        "pool": lambda: stax.AvgPool((2, 2), strides=(2, 2), padding="VALID"),
        "flatten": stax.Flatten,
        "gap": stax.GlobalAvgPool,
        "dense": lambda: stax.Dense(width, **weights),
    }
    *hidden, _ = architecture.layers  # the last one is dense
    return stax.serial(*(make[layer]() for layer in hidden), stax.Dense(outputs, **weights))


def tile_shape(n1: int, n2: int, pairs: int) -> tuple[int, int]:
    """Return rows and columns of the tiles for an (n1, n2) block: near square, even cuts, few distinct shapes.

    The block is cut evenly into the fewest tiles of about `pairs` pairs, and each side is rounded up to a number with
    at most three binary digits, so that blocks of all sizes share a handful of compiled shapes. Padding is at most a
    third on each side (tests/unit/kernels/test_tiling.py). Not collective.
    """
    rows = _even_part(n1, max(isqrt(pairs), pairs // max(n2, 1)))
    return rows, _even_part(n2, max(1, pairs // rows))


def _even_part(n: int, most: int) -> int:
    """Return the length of the fewest even parts of n that are no longer than `most`, rounded up to 3 binary digits."""
    n = max(n, 1)
    length = -(-n // -(-n // most))
    step = 1 << max(0, length.bit_length() - 3)
    return -(-length // step) * step


def _compiled(kernel_fn: Any, kind: str, dtype: np.dtype) -> tuple[Any, Any]:
    """Return the jitted kernel of two batches of images, and its vjp with respect to the first."""
    import jax

    def forward(x1: Any, x2: Any) -> Any:
        return kernel_fn(x1, x2, kind).astype(dtype)

    def vjp(x1: Any, x2: Any, cotangent: Any) -> Any:
        _, pull_back = jax.vjp(lambda x: forward(x, x2), x1)
        return pull_back(cotangent)[0]

    return jax.jit(forward), jax.jit(vjp)


def _jax_device() -> str | None:
    """Return the name of JAX's GPU; None where JAX computes on the CPU."""
    import jax

    return None if jax.default_backend() == "cpu" else jax.devices()[0].device_kind


def _padded(images: np.ndarray, length: int) -> np.ndarray:
    """Return `images` repeated from the first until there are `length` of them."""
    return images if len(images) == length else images[np.arange(length) % len(images)]


def _cut(tile: Any, rows: slice, columns: slice) -> np.ndarray:
    """Return the part of a padded tile that belongs to the block."""
    return np.asarray(tile)[: rows.stop - rows.start, : columns.stop - columns.start]
