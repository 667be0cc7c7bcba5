"""The bytes of a chunk as HDF5's filters `shuffle` and `gzip` leave them. Not collective."""

from __future__ import annotations

import zlib

import numpy as np

#: As h5py's default.
LEVEL = 4


def pack(content: bytes, itemsize: int) -> bytes:
    """Return what HDF5 stores for a chunk of numbers of so many bytes each."""
    return zlib.compress(np.frombuffer(content, np.uint8).reshape(-1, itemsize).T.tobytes(), LEVEL)


def unpack(packed: bytes, itemsize: int, size: int) -> bytes:
    """Return the `size` bytes of a chunk; something else where what is stored is damaged."""
    try:
        shuffled = zlib.decompressobj().decompress(packed, size)
    except zlib.error:
        return b""
    if len(shuffled) != size:
        return b""
    return np.frombuffer(shuffled, np.uint8).reshape(itemsize, -1).T.tobytes()
