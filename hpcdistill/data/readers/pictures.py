"""Pictures of any kind that Pillow reads, brought to one size, and to grey or RGB. Not collective."""

from __future__ import annotations

import logging
import multiprocessing
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from hpcdistill.data.readers.files import one_line
from hpcdistill.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".gif", ".jfif")
#: Fewer are read faster in this process than by others that have to be started.
_WORTH_PROCESSES, _AT_ONCE = 4000, 500
_SHOWN = 10

logging.getLogger("PIL").addHandler(logging.NullHandler())  # what it says of a damaged file, the error says, too

#: One picture `(h, w, 1 or 3)`, or what is wrong with it.
Read = np.ndarray | str


def read_pictures(
    folder: Path, splits: Mapping[str, Sequence[Path]], size: int, fit: str, report: Callable[[int, int], None]
) -> dict[str, np.ndarray]:
    """Read the pictures of some splits, on all cores where they are many.

    Pictures are grey where all of them are, whatever their mode; else all are RGB. What is transparent is put on white,
    and pictures are turned as their EXIF data say.

    Args:
        folder: for messages.
        splits: files by name of the split.
        size: of a side that all pictures are brought to; 0: they have one size.
        fit: "crop" the middle of the picture, "pad" it with black, or "stretch" it to a square.
        report: is told how many pictures of how many are read.

    Returns:
        `(n, h, w, 1 or 3)` by split, uint8; float32 where all pictures have more than 8 bits.

    Raises:
        DataError: pictures that cannot be read, or have several sizes.
    """
    paths = [path for files in splits.values() for path in files]
    pictures: list[Read] = []
    for chunk in _in_chunks(paths, partial(_read_chunk, size=size, fit=fit)):
        pictures += chunk
        report(len(pictures), len(paths))
    wrong = [(path, said) for path, said in zip(paths, pictures, strict=True) if isinstance(said, str)]
    if wrong:
        some = "; ".join(f"{path.relative_to(folder)}: {said}" for path, said in wrong[:_SHOWN])
        more = f"; and {len(wrong) - _SHOWN} more" if len(wrong) > _SHOWN else ""
        raise DataError(
            f"{folder}: {len(wrong)} of {len(paths)} pictures cannot be read: {some}{more}. Replace or remove them."
        )
    good = [picture for picture in pictures if isinstance(picture, np.ndarray)]
    _check_sizes(folder, good)
    dtype = _common_type(folder, paths, good)
    channels = max((picture.shape[2] for picture in good), default=1)
    arrays, start = {}, 0
    for split, files in splits.items():
        arrays[split] = np.empty((len(files), *good[0].shape[:2], channels), dtype)
        for row, picture in zip(arrays[split], good[start : start + len(files)], strict=True):
            row[...] = picture  # grey goes to all channels
        start += len(files)
    return arrays


def _common_type(folder: Path, paths: Sequence[Path], pictures: Sequence[np.ndarray]) -> np.dtype:
    """Return uint8, or float32 where all pictures have more than 8 bits; mixed, their units would differ."""
    narrow = [picture.dtype == np.uint8 for picture in pictures]
    if len(set(narrow)) > 1:
        one, other = (paths[narrow.index(kind)].relative_to(folder) for kind in (True, False))
        raise DataError(
            f"{folder}: pictures of 8 bits ({one}) and of more ({other}) have other units. Store all with as many bits."
        )
    return np.dtype(np.uint8 if narrow[0] else np.float32)


def _check_sizes(folder: Path, pictures: Sequence[np.ndarray]) -> None:
    sizes = {picture.shape[:2] for picture in pictures}
    if len(sizes) > 1:
        small, large = min(sizes), max(sizes)
        raise DataError(
            f"{folder}: pictures are of {len(sizes)} sizes, from {small[0]}×{small[1]} to {large[0]}×{large[1]}. Give "
            'one with data.size, such as 32; data.fit says how ("crop", "pad" or "stretch").'
        )


def _in_chunks(paths: Sequence[Path], read: Callable[[Sequence[Path]], list[Read]]) -> Iterator[list[Read]]:
    chunks = [paths[start : start + _AT_ONCE] for start in range(0, len(paths), _AT_ONCE)]
    workers = len(os.sched_getaffinity(0))
    if len(paths) < _WORTH_PROCESSES or workers == 1:
        yield from map(read, chunks)
        return
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(read, chunks)


def _read_chunk(paths: Sequence[Path], size: int, fit: str) -> list[Read]:
    with _silent_libraries():
        return [_read(path, size, fit) for path in paths]


@contextmanager
def _silent_libraries() -> Iterator[None]:
    """Drop what decoders write to standard error by themselves; the error of a damaged file says what is wrong."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _read(path: Path, size: int, fit: str) -> Read:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is odd in a file and does no harm
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return _as_array(image, size, fit)
    except UnidentifiedImageError:
        return "is no picture" if path.stat().st_size else "is empty"
    except Exception as error:  # damage can raise any
        return one_line(error).rstrip(".")


def _as_array(image: Image.Image, size: int, fit: str) -> np.ndarray:
    """Return a picture `(h, w, 1 or 3)`: uint8, or float32 where it has more than 8 bits, values as they are."""
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    image = image.convert("F") if image.mode in ("I", "F") else _on_white(image)
    if size and image.size != (size, size):
        image = _resized(image, (size, size), fit)
    array = np.asarray(image)
    if array.ndim == 2:
        return array[:, :, np.newaxis]
    is_grey = bool((array[..., 0] == array[..., 1]).all() and (array[..., 0] == array[..., 2]).all())
    return array[:, :, :1] if is_grey else array


def _resized(image: Image.Image, size: tuple[int, int], fit: str) -> Image.Image:
    method = Image.Resampling.LANCZOS
    if fit == "crop":
        return ImageOps.fit(image, size, method)
    return ImageOps.pad(image, size, method) if fit == "pad" else image.resize(size, method)


def _on_white(image: Image.Image) -> Image.Image:
    """Return a picture as L or RGB; what is transparent becomes white."""
    transparent = "transparency" in image.info or image.mode in ("LA", "RGBA", "PA", "La", "RGBa")
    if image.mode in ("L", "RGB") and not transparent:
        return image
    target = "L" if image.mode in ("1", "L", "LA", "La") else "RGB"
    if transparent:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image.convert(target)
