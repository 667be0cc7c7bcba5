"""Exact kernels of infinitely wide networks as NumPy arrays."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.architecture import Architecture, parse_architecture
from hpcdistill.backend import check_backend_name
from hpcdistill.errors import ConfigError, InputError
from hpcdistill.gpu.device import to_host
from hpcdistill.io.tile import DEFAULT_TILE
from hpcdistill.kernels.base import KernelBackend
from hpcdistill.kernels.select import choose_backend
from hpcdistill.progress import Reporter, on_terminal

if TYPE_CHECKING:
    from hpcdistill.api.jax_kernel import JaxKernel

#: Rows and columns of a block: bounds the engine's temporary memory, and is the unit of progress.
_ROWS, _COLUMNS = 256, 2048

Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class NeuralKernel:
    """The kernel of an infinitely wide network, a function of two sets of images. Not collective.

    Attributes:
        network: "FC1", "ConvNet", "ConvNet3", "Conv-Vec3", "Myrtle-5", "Myrtle-7", "Myrtle-10", or a list of layers
            such as "conv relu pool flatten dense". The named ones are those of arXiv:2107.13034 and arXiv:2011.00050.
        kind: "ntk" (neural tangent kernel) or "nngp" (covariance of the network's Gaussian process).
        w_std, b_std: standard deviations of weights and biases, in NTK parameterisation.
        image_shape: `(h, w, c)` of images that are given as rows `(n, d)`; not needed for fully connected networks.
        dtype: "float64" or "float32", in which kernels are computed and returned.
        backend: "auto", or one by name: fc, cuda, native, tangents.
        progress: is told how many entries of how many are done; default: a bar on a terminal.

    Raises:
        ConfigError: an unknown network, kind, dtype or backend.

    Examples:
        >>> import numpy as np
        >>> from hpcdistill import NeuralKernel
        >>> images = np.random.default_rng(0).normal(size=(4, 8, 8, 1))
        >>> k = NeuralKernel("conv relu pool flatten dense")
        >>> k(images).shape
        (4, 4)
        >>> k(images[:2], images).shape
        (2, 4)
    """

    network: str = "ConvNet"
    kind: str = "ntk"
    w_std: float = math.sqrt(2)
    b_std: float = 0.1
    image_shape: tuple[int, int, int] | None = None
    dtype: str = "float64"
    backend: str = "auto"
    progress: Progress | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.dtype not in ("float32", "float64"):
            raise ConfigError(f"dtype is {self.dtype!r}. Valid: float32, float64.")
        check_backend_name(self.backend)
        if self.image_shape is not None and len(self.image_shape) != 3:
            raise ConfigError(f"image_shape must be (h, w, c), not {self.image_shape}.")
        parse_architecture(self.network, self.kind, self.w_std, self.b_std)

    @cached_property
    def _architecture(self) -> Architecture:
        return parse_architecture(self.network, self.kind, self.w_std, self.b_std)

    @cached_property
    def _backends(self) -> dict[tuple[int, int, int], KernelBackend]:
        return {}

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled, or copied: not the engines, which are made again where they are needed."""
        return {name: value for name, value in self.__dict__.items() if name != "_backends"}

    def __call__(self, x1: ArrayLike, x2: ArrayLike | None = None, *, out: np.ndarray | None = None) -> np.ndarray:
        """Return `K[i, j] = K(x1_i, x2_j)`.

        Args:
            x1, x2: images `(n, h, w, c)`, `(n, h, w)`, or rows `(n, d)`; any real type. Without `x2` the kernel of `x1`
                with itself, of which half is computed; it is exactly symmetric.
            out: `(n1, n2)` array to write to; a memory-mapped file, for example.

        Returns:
            `(n1, n2)` array of `dtype`, or `out`.

        Raises:
            InputError: images of different shapes, or that are not finite; `out` of another shape.
        """
        first, second = self.both(x1, x2)
        kernel = np.empty((len(first), len(second)), self.dtype) if out is None else out
        if not isinstance(kernel, np.ndarray) or kernel.dtype.kind != "f":
            raise InputError(f"out must be an array of floats, not {getattr(kernel, 'dtype', type(kernel).__name__)}.")
        if kernel.shape != (len(first), len(second)):
            raise InputError(f"out must be {(len(first), len(second))}, it is {kernel.shape}.")
        if kernel.size:
            backend = self.backend_for(first.shape[1:])
            h1 = backend.prepare(first)
            _fill(backend, h1, h1 if x2 is None else backend.prepare(second), kernel, self._tell)
        return kernel

    def to_hdf5(
        self, path: str | Path, x1: ArrayLike, x2: ArrayLike | None = None, *, tile: int = DEFAULT_TILE,
        comm: Any = None, compress: bool = False,
    ) -> None:  # fmt: skip
        """Compute a kernel that need not fit in memory, tile by tile, into dataset `/kernel` of an HDF5 file.

        The same call goes on where another was ended, whatever ended it: tiles that are there are verified and kept.
        `dtype`, `tile`, and the backend with its instruction set cannot change on the way; with `backend="auto"` the
        file's is taken. The last digits of entries depend on them. HDF5 1.10 or newer reads the file.

        Args:
            path: of the file; its folder exists.
            x1, x2: see `__call__`. Without `x2` half of the tiles are computed, and the file has all.
            tile: rows and columns of a tile, up to 16384.
            comm: mpi4py's communicator of the ranks that share the work, each with the same images; default: this
                process alone. Collective then.
            compress: without loss, when it is complete. Takes the memory of a few tiles, and room for a second file.

        Raises:
            TypeError: `path` or `comm` is none.
            InputError: see `__call__`; no images; a tile of another size; ranks that have different images.
            CheckpointError: `path` is something else, damaged, or of other images, another network, type, tile or
                backend.
            NotFiniteError: an entry is infinite, or none.
            StorageError: it cannot be written; tiles that are there stay.

        Examples:
            >>> import h5py, tempfile
            >>> import numpy as np
            >>> from hpcdistill import NeuralKernel
            >>> path = tempfile.mkdtemp() + "/kernel.h5"
            >>> NeuralKernel("FC1").to_hdf5(path, np.random.default_rng(0).normal(size=(300, 4, 4, 1)))
            >>> h5py.File(path)["kernel"][:2, :3].shape
            (2, 3)
        """
        from hpcdistill.api.kernel_to_file import kernel_to_file

        kernel_to_file(self, path, (x1, x2), tile, comm, compressed=compress)

    def vjp(self, x1: ArrayLike, x2: ArrayLike | None = None) -> tuple[np.ndarray, Callable[[ArrayLike], Any]]:
        """Return the kernel, and a function that pulls cotangents back to the images, as `jax.vjp` does.

        Args:
            x1, x2: see `__call__`.

        Returns:
            `K`, and `pullback(C)` for `C` like `K`: the gradients of `Σ C ∘ K` with respect to `x1` and `x2`, each in
            the shape of the images; without `x2` the one with respect to `x1`, which enters twice.
        """
        first, second = np.array(x1), None if x2 is None else np.array(x2)  # whatever the caller does to them later
        return self(first, second), lambda cotangent: self.gradient(first, second, cotangent)

    def gradient(self, x1: ArrayLike, x2: ArrayLike | None, cotangent: ArrayLike) -> Any:
        """Return the gradients of `Σ C ∘ K` without the kernel: what the `pullback` of `vjp` returns."""
        if x2 is None:
            return self.gradient_of_first(x1, None, cotangent)
        return self.gradient_of_first(x1, x2, cotangent), self.gradient_of_first(x2, x1, np.transpose(cotangent))

    def gradient_of_first(self, x1: ArrayLike, x2: ArrayLike | None, cotangent: ArrayLike) -> np.ndarray:
        """Return the gradient of `Σ C ∘ K` with respect to `x1` alone, at half the price; see `gradient`."""
        first, second = self.both(x1, x2)
        c, backend = np.asarray(cotangent, self.dtype), self.backend_for(first.shape[1:])
        if c.shape != (len(first), len(second)):
            raise InputError(f"The cotangent must be {(len(first), len(second))}, it is {c.shape}.")
        h1 = backend.prepare(first)
        if x2 is None:
            return _gradient(backend, h1, h1, c + c.T).reshape(np.shape(x1))
        return _gradient(backend, h1, backend.prepare(second), c).reshape(np.shape(x1))

    @property
    def jax(self) -> JaxKernel:
        """The same as a JAX function of `x1` and `x2`, also under `jit`, `grad` and `vmap`.

        It is differentiable in both, once and in reverse (`grad`, `vjp`, `jacrev`): there is no `jvp` and no `hessian`.
        """
        from hpcdistill.api.jax_kernel import JaxKernel

        return JaxKernel(self)

    def images(self, x: ArrayLike) -> np.ndarray:
        """Return images as `(n, h, w, c)` of `dtype`.

        Raises:
            InputError: their shape is none of those that `__call__` takes.
        """
        array = np.asarray(x)
        if array.ndim < 2:
            raise InputError(f"Images must be (n, h, w, c), (n, h, w) or (n, d), not {array.shape}.")
        if array.dtype.kind not in "biuf":
            raise InputError(f"Images must be numbers, not {array.dtype}.")
        return np.ascontiguousarray(array, self.dtype).reshape(len(array), *self.shape_of_images(array.shape))

    def shape_of_images(self, shape: tuple[int, ...]) -> tuple[int, int, int]:
        """Return `(h, w, c)` of the images in an array of this shape; `InputError` where it is none of images."""
        if len(shape) == 4:
            return shape[1], shape[2], shape[3]
        if len(shape) == 3:
            return shape[1], shape[2], 1
        if len(shape) != 2:
            raise InputError(f"Images must be (n, h, w, c), (n, h, w) or (n, d), not {shape}.")
        if self.image_shape is None and self._architecture.is_fully_connected:
            return 1, 1, shape[1]
        if self.image_shape is None or math.prod(self.image_shape) != shape[1]:
            raise InputError(
                f"Rows of {shape[1]} numbers: of which images? Give image_shape=(h, w, c) with h · w · c = {shape[1]}."
            )
        return self.image_shape

    def both(self, x1: ArrayLike, x2: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the images of rows and columns, one array without `x2`; see `images`."""
        first = self.images(x1)
        second = first if x2 is None else self.images(x2)
        if first.shape[1:] != second.shape[1:]:
            raise InputError(f"Images of different shapes have no kernel: {first.shape[1:]} and {second.shape[1:]}.")
        return first, second

    def backend_for(self, shape: tuple[int, ...]) -> KernelBackend:
        """Return what computes kernels of images `(h, w, c)`."""
        height, width, channels = shape
        key = (height, width, channels)
        if key not in self._backends:
            self._backends[key] = choose_backend(self._architecture, key, self.dtype, self.backend)
        return self._backends[key]

    def _tell(self) -> Progress:
        return self.progress or Bar()


class Bar:
    """A bar on a terminal, for work that takes a while."""

    def __init__(self) -> None:
        self._reporter = Reporter(on_terminal())

    def __call__(self, done: int, total: int) -> None:
        """Show that so many entries of so many are done."""
        self._reporter.rows("kernel entries", done, total)


def _fill(backend: KernelBackend, h1: Any, h2: Any, kernel: np.ndarray, tell: Callable[[], Progress]) -> None:
    """Write a kernel block by block; of a symmetric one the lower half, and its mirror image."""
    symmetric = h1.is_same_rows(h2)
    blocks = [
        (slice(a, a + _ROWS), slice(b, b + columns))
        for columns in [_ROWS if symmetric else _COLUMNS]
        for a in range(0, len(h1), _ROWS)
        for b in range(0, len(h2), columns)
        if not symmetric or b <= a
    ]
    progress = tell() if len(blocks) > 1 else lambda done, total: None
    for number, (rows, columns) in enumerate(blocks, 1):
        block = to_host(backend.block(h1[rows], h2[columns]))
        kernel[rows, columns] = block
        if symmetric and rows != columns:
            kernel[columns, rows] = block.T
        progress(number, len(blocks))


def _gradient(backend: KernelBackend, h1: Any, h2: Any, cotangent: np.ndarray) -> np.ndarray:
    """Return `d/dx1 Σ cotangent ∘ K(x1, x2)`, `(n1, h, w, c)`."""
    gradient = np.zeros(h1.images.shape, backend.dtype)
    for a in range(0, len(h1), _ROWS):
        rows = slice(a, a + _ROWS)
        for b in range(0, len(h2), _COLUMNS):
            columns = slice(b, b + _COLUMNS)
            part = np.ascontiguousarray(cotangent[rows, columns])
            gradient[rows] += to_host(backend.block_vjp(h1[rows], h2[columns], part))
    return gradient
