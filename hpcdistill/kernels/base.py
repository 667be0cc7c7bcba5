"""What every kernel backend offers, the handles it works on, and the checks it shares with the others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.errors import InputError
from hpcdistill.gpu.device import Device
from hpcdistill.kernels.sweep import Sweep


@dataclass(frozen=True)
class Handle:
    """Images as a backend wants them, with what it computed once per image. `handle[a:b]` is a range of rows, no copy.

    Attributes:
        images: (n, h, w, c), in the backend's dtype: C-contiguous, NumPy's; or any view of them on the backend's
            device. Not to be changed while the handle is in use.
        per_image: arrays whose first axis is the image; what they hold is the backend's business.
        source: the same object for all ranges of what one call of `prepare` returned.
        start: row of `source` that is row 0 here.
    """

    images: Any
    per_image: tuple[Any, ...] = ()
    source: object = field(default_factory=object, repr=False)
    start: int = 0

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice) -> Handle:
        if not isinstance(rows, slice):
            raise TypeError(f"A handle takes a range of rows, as in handle[a:b], not {rows!r}.")
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise ValueError(f"A handle takes contiguous ranges only, not a step of {step}.")
        window = slice(start, max(start, stop))
        return Handle(self.images[window], tuple(a[window] for a in self.per_image), self.source, self.start + start)

    def offset_in(self, other: Handle) -> int | None:
        """Return k such that row i here and row i + k of `other` are the same image; None if they share no source."""
        return self.start - other.start if self.source is other.source else None

    def is_same_rows(self, other: Handle) -> bool:
        """Whether both hold the same rows of the same source."""
        return self.offset_in(other) == 0 and len(self) == len(other)


class KernelBackend(Protocol):
    """Kernels of one architecture, for images of one shape, in one floating-point type. No method communicates.

    A backend's class takes `(architecture, image_shape, dtype)` and raises `NotSuitable` where it cannot serve them.
    `Handle` does for `prepare` to return, and `hpcdistill.kernels.sweep.RepeatedSweep` for `sweep`, in one that keeps
    nothing between a block and its gradient. One whose entries take far less than a millisecond may have
    `is_quick = True`: it is given more of them at a time, since small pieces cost as much again in Python. `name` is
    that of its line in `hpcdistill/backend.py`, or entry point.
    """

    name: str
    dtype: np.dtype
    #: Bound on the memory of a call besides images and results, wherever one pair of images needs less than that.
    temporary_bytes: int

    @property
    def device(self) -> Device | None:
        """The GPU on which blocks and gradients are left; None: they are NumPy's arrays."""
        ...

    def prepare(self, images: ArrayLike) -> Any:
        """Return a handle with `len()` and `handle[a:b]`, holding what is computed once per image.

        Args:
            images: (n, h, w, c), any float dtype, any memory layout; n may be 0. Converted to `dtype`. An array that
                already fits is not copied: do not change it while the handle is in use.

        Raises:
            ValueError: the shape or type is not that of the backend.
            InputError: an image is not finite → look for NaN in the data or lower the learning rate.

        Not collective.
        """
        ...

    def block(self, h1: Any, h2: Any) -> Any:
        """Return the kernel matrix `K[i, j] = K(x1_i, x2_j)`, (len(h1), len(h2)), in `dtype`.

        Where both handles hold the same rows of one prepared set, the result is exactly symmetric.

        Raises:
            ValueError: the handles hold images of different shapes.

        Not collective.
        """
        ...

    def block_vjp(self, h1: Any, h2: Any, cotangent: Any) -> Any:
        """Return `d/dx1 Σ_ij cotangent[i, j] K(x1_i, x2_j)` with x2 held fixed, (len(h1), h, w, c), in `dtype`.

        For a kernel of images with themselves, the gradient of `Σ C ∘ K(x, x)` is
        `block_vjp(h, h, C + Cᵀ)`: x enters twice and K is symmetric.

        Args:
            h1, h2: handles of the images.
            cotangent: (len(h1), len(h2)), any float dtype; NumPy's, or of `device`.

        Raises:
            ValueError: the shapes do not fit each other.

        Not collective.
        """
        ...

    def sweep(self, h1: Any) -> Sweep:
        """Return what evaluates the kernel of these images with others and its gradient. Not collective."""
        ...


def is_quick(backend: KernelBackend) -> bool:
    """Tell whether small blocks cost as much in Python as their entries, so that they had better be large."""
    return getattr(backend, "is_quick", False)


def variant(backend: KernelBackend) -> str:
    """Return by what a kernel is the same to the last bit: the backend's name, and its instruction set if it has one.

    Not collective.
    """
    return " ".join(filter(None, [backend.name, getattr(backend, "target", "")]))


def check_images(images: ArrayLike, image_shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """Return `images` as an aligned C-contiguous array of `dtype`, without a copy where it is one.

    Args:
        images: (n, *image_shape), any float dtype.
        image_shape: (h, w, c).
        dtype: float32 or float64.

    Raises:
        ValueError: not floating point → convert and scale first; not of this shape → prepare what the backend is for.
        InputError: some pixel is NaN or infinite, or too large for `dtype`.

    Not collective.
    """
    with np.errstate(over="ignore"):
        array = np.require(check_form(images, image_shape), dtype, ["C_CONTIGUOUS", "ALIGNED"])
    if array.size and not (np.isfinite(array.min()) and np.isfinite(array.max())):
        bad = next(i for i, image in enumerate(array) if not np.isfinite(image).all())
        raise InputError(
            f"Image {bad} of {len(array)} has pixels that are NaN, infinite or beyond {dtype}: "
            "look for damaged data or, in training, lower the learning rate."
        )
    return array


def check_form(images: ArrayLike, image_shape: tuple[int, int, int]) -> np.ndarray:
    """Return `images` as an array; `ValueError` unless it is (n, *image_shape) and floating point. Not collective."""
    array = np.asarray(images)
    if array.dtype.kind != "f":
        raise ValueError(f"Images must be floating point, not {array.dtype}: convert and scale them first.")
    if array.shape[1:] != tuple(image_shape) or array.ndim != 4:
        raise ValueError(f"Images must be (n, {', '.join(map(str, image_shape))}), not {array.shape}.")
    return array


def check_overflow(images: np.ndarray, norms: np.ndarray) -> None:
    """Raise `InputError` where a covariance exceeds the type: a norm is infinite or, without ReLUs, a square is.

    Args:
        images: (n, h, w, c).
        norms: (n, norms), of every pixel at every ReLU.

    Not collective.
    """
    for i in range(len(images)):
        with np.errstate(over="ignore"):
            square = np.square(images[i]).sum()
        if not (np.isfinite(norms[i]).all() and np.isfinite(square)):
            wider = "use kernel.precision=float64, or " if images.dtype == np.float32 else ""
            raise InputError(
                f"Image {i} of {len(images)} has pixels up to {np.abs(images[i]).max():.3g}, whose kernel exceeds "
                f"{images.dtype}: {wider}scale the images to pixels around 1."
            )


def check_pair(h1: Handle, h2: Handle) -> None:
    """Raise `ValueError` unless both handles hold images of one shape and type. Not collective."""
    for what in ("shape", "dtype"):
        a, b = getattr(h1.images[:0], what), getattr(h2.images[:0], what)
        if a != b:
            raise ValueError(f"The two handles hold images of different {what}: {a} and {b}.")


def check_prepared(h1: Handle, h2: Handle, dtype: np.dtype, shapes: list[tuple[int, ...]]) -> None:
    """Raise `ValueError` unless both handles are of one shape and hold what a backend's `prepare` computes.

    Args:
        dtype: of the backend.
        shapes: of what it keeps per image, for one image.

    Not collective.
    """
    check_pair(h1, h2)
    for handle in (h1, h2):
        if handle.images.dtype != dtype or [array.shape[1:] for array in handle.per_image] != shapes:
            raise ValueError("A handle was prepared by another backend, or by one of another type or network.")


def check_cotangent(cotangent: Any, h1: Handle, h2: Handle, xp: Any = np) -> Any:
    """Return the cotangent as an array of `xp`, in the handles' dtype. Not collective.

    Raises:
        ValueError: it is not (len(h1), len(h2)).
    """
    array = xp.asarray(cotangent, h1.images.dtype)
    if array.shape != (len(h1), len(h2)):
        raise ValueError(f"The cotangent must be {(len(h1), len(h2))}, one entry per pair, not {array.shape}.")
    return array
