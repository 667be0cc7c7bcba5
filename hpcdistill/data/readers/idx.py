"""IDX files, the format of MNIST and Fashion-MNIST.

Source of the format: http://yann.lecun.com/exdb/mnist/ ("the IDX file format"): big-endian magic number whose third
byte is the type and fourth the number of dimensions, one 32-bit size per dimension, then the values in C order.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Split
from hpcdistill.data.readers.check import make_split
from hpcdistill.data.readers.files import read_bytes
from hpcdistill.data.registry import KNOWN, KnownDataset
from hpcdistill.errors import DataError

UNSIGNED_BYTE = 0x08


def read_idx(path: Path, ndim: int) -> np.ndarray:
    """Read an IDX file of unsigned bytes, gzipped or not.

    Args:
        path: the file.
        ndim: number of dimensions it must have: 3 for images, 1 for labels.

    Returns:
        uint8 array of the shape in the header; read-only.

    Raises:
        DataError: wrong magic number, or a size other than the header says → fetch the file again. Not collective.
    """
    raw = read_bytes(path)
    header = 4 + 4 * ndim
    if len(raw) < header:
        raise DataError(f"{path}: truncated IDX file, {len(raw)} bytes are too few for its header. Fetch it again.")
    magic, *shape = struct.unpack_from(f">{1 + ndim}I", raw)
    expected = UNSIGNED_BYTE << 8 | ndim
    if magic != expected:
        raise DataError(
            f"{path}: wrong magic number {magic:#010x}, {expected:#010x} is expected for unsigned bytes in {ndim} "
            "dimension(s). It is not an IDX file, or images and labels are exchanged."
        )
    _check_size(path, len(raw) - header, tuple(shape))
    return np.frombuffer(raw, np.uint8, offset=header).reshape(shape)


def _check_size(path: Path, size: int, shape: tuple[int, ...]) -> None:
    expected = math.prod(shape)
    if size != expected:
        what = "truncated IDX file" if size < expected else "IDX file with bytes after its end"
        raise DataError(f"{path}: {what}: {size} values where its header says {shape}. Fetch it again.")


def read_split(paths: Sequence[Path], known: KnownDataset) -> Split:
    """Read a split from its image file and its label file.

    Args:
        paths: the image file and the label file.
        known: the data set they should hold.

    Returns:
        images `(n, h, w, 1)` uint8, labels `(n,)` int64.

    Raises:
        DataError: a damaged file, files that do not belong together, or of another data set. Not collective.
    """
    image_path, label_path = paths
    images, labels = read_idx(image_path, 3), read_idx(label_path, 1)
    _check_origin(label_path, labels, known)
    return make_split(images[..., np.newaxis], labels, len(known.class_names), f"{image_path}, {label_path.name}")


def _check_origin(path: Path, labels: np.ndarray, known: KnownDataset) -> None:
    """MNIST and Fashion-MNIST have the same file names and sizes: only the content tells them apart."""
    checksum = zlib.crc32(labels.tobytes())
    for other in KNOWN.values():
        if other is not known and checksum in other.label_crc32:
            raise DataError(f"{path}: holds the labels of {other.name}, not of {known.name}. Use a folder for each.")
