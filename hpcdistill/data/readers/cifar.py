"""CIFAR-10 and CIFAR-100 in the binary and the Python layout.

Source of the formats: https://www.cs.toronto.edu/~kriz/cifar.html. Binary: per image one label byte (CIFAR-100: coarse,
then fine), then 3072 pixel bytes: the red, green and blue planes of 32×32 pixels, rows first. Python: one pickled
dictionary per file with `data`, an `(n, 3072)` uint8 array of the same planes, and a list of labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Split
from hpcdistill.data.readers.check import make_split
from hpcdistill.data.readers.files import read_bytes
from hpcdistill.data.readers.unpickle import load_pickle
from hpcdistill.data.registry import KnownDataset
from hpcdistill.errors import DataError

PIXELS = 3 * 32 * 32

Batch = tuple[np.ndarray, np.ndarray]


def read_binary(paths: Sequence[Path], known: KnownDataset, *, label_bytes: int) -> Split:
    """Read a split from its binary batches.

    Args:
        paths: the batches, in order.
        known: the data set they hold.
        label_bytes: label bytes before each image, of which the last is used: 1 for CIFAR-10, 2 for CIFAR-100.

    Returns:
        images `(n, 32, 32, 3)` uint8, labels `(n,)` int64.

    Raises:
        DataError: a missing or truncated file, or labels out of range. Not collective.
    """
    return _read_split(paths, known, lambda path: _binary_batch(path, label_bytes))


def read_pickle(paths: Sequence[Path], known: KnownDataset, *, label_key: str) -> Split:
    """Read a split from its pickled batches; nothing in them is ever executed.

    Args:
        paths: the batches, in order.
        known: the data set they hold.
        label_key: `labels` for CIFAR-10, `fine_labels` for CIFAR-100.

    Returns:
        images `(n, 32, 32, 3)` uint8, labels `(n,)` int64.

    Raises:
        DataError: a damaged pickle, one that asks for code, missing keys, or labels out of range. Not collective.
    """
    return _read_split(paths, known, lambda path: _pickle_batch(path, label_key))


def _read_split(paths: Sequence[Path], known: KnownDataset, read: Callable[[Path], Batch]) -> Split:
    parts = [_batch_split(path, known, *read(path)) for path in paths]
    return Split(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


def _batch_split(path: Path, known: KnownDataset, planes: np.ndarray, labels: np.ndarray) -> Split:
    images = planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return make_split(images, labels, len(known.class_names), str(path))


def _binary_batch(path: Path, label_bytes: int) -> Batch:
    raw = read_bytes(path)
    record = label_bytes + PIXELS
    if len(raw) % record:
        raise DataError(f"{path}: truncated, {len(raw)} bytes is no multiple of {record}. Fetch the archive again.")
    records = np.frombuffer(raw, np.uint8).reshape(-1, record)
    return records[:, label_bytes:], records[:, label_bytes - 1]


def _pickle_batch(path: Path, label_key: str) -> Batch:
    batch = load_pickle(path)
    for key in ("data", label_key):
        if key not in batch:
            raise DataError(
                f"{path}: no key {key!r}; it has {sorted(map(str, batch))}. It is not a batch of this data set."
            )
    return _planes(path, batch["data"]), _labels(path, label_key, batch[label_key])


def _planes(path: Path, data: object) -> np.ndarray:
    if isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 2 and data.shape[1] == PIXELS:
        return data
    found = f"{data.dtype} {data.shape}" if isinstance(data, np.ndarray) else type(data).__name__
    raise DataError(f"{path}: 'data' must be a uint8 array (n, {PIXELS}), it is {found}. Fetch the archive again.")


def _labels(path: Path, key: str, values: object) -> np.ndarray:
    if isinstance(values, np.ndarray):
        values = values.tolist()
    if isinstance(values, list) and all(type(value) is int and abs(value) < 2**31 for value in values):
        return np.array(values, np.int64)
    raise DataError(f"{path}: {key!r} must be a list of integers. Fetch the archive again.")
