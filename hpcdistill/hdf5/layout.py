"""Where the bytes of an HDF5 dataset lie in its file, for who reads or writes them without HDF5. Not collective."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import h5py

#: Chunks that are looked at: HDF5 before 1.12.3 walks through all those before the one that it is asked for.
_SAMPLES = 16


@dataclass(frozen=True)
class Layout:
    """How a dataset lies in its file.

    Attributes:
        dtype: of its values, as `numpy.dtype.str`.
        shape: of the dataset.
        chunks: shape of a chunk, None where it has none.
        is_filtered: whether its chunks are compressed, or changed otherwise.
        start: where its bytes begin, if they lie one after the other as they are, chunk by chunk in the order of rows;
            else None.
    """

    dtype: str
    shape: tuple[int, ...]
    chunks: tuple[int, ...] | None
    is_filtered: bool
    start: int | None


def layout_of(dataset: h5py.Dataset) -> Layout:
    """Return how a dataset of an open file lies in it."""
    is_filtered = dataset.id.get_create_plist().get_nfilters() > 0
    start = None if is_filtered else _start(dataset)
    return Layout(dataset.dtype.str, dataset.shape, dataset.chunks, is_filtered, start)


def _start(dataset: h5py.Dataset) -> int | None:
    if dataset.chunks is None:
        return dataset.id.get_offset()
    grid = [-(-length // side) for length, side in zip(dataset.shape, dataset.chunks, strict=True)]
    count, n_bytes = math.prod(grid), math.prod(dataset.chunks) * dataset.dtype.itemsize

    def place(number: int) -> int | None:
        corner = zip(np.unravel_index(number, grid), dataset.chunks, strict=True)
        return dataset.id.get_chunk_info_by_coord(tuple(int(i) * side for i, side in corner)).byte_offset

    start = place(0) if count else None
    some = {(count - 1) * part // _SAMPLES for part in range(_SAMPLES + 1)}
    if start is None or any(place(number) != start + number * n_bytes for number in some):
        return None
    return start
