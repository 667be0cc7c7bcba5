"""Users' own data in HDF5 files, read serially."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from hpcdistill.data.readers.files import check_readable, one_line
from hpcdistill.errors import DataError
from hpcdistill.hdf5 import open_complete


def read_hdf5(path: Path, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read those of `keys` that are datasets at the root of an HDF5 file, and list all it has there.

    Args:
        path: the file; opened by this process alone, so that any rank may read it on its own.
        keys: names of datasets.

    Returns:
        The arrays present, as stored (text becomes `str` arrays), and the names of all members of the root.

    Raises:
        DataError: unreadable, no HDF5 file, damaged, a group, of variable length, or in another file. Not collective.
    """
    check_readable(path)
    try:
        with open_complete(path) as file:
            return {key: _read_dataset(path, file, key) for key in keys if key in file}, sorted(file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({one_line(error)}). Write it again with h5py.") from None


def _read_dataset(path: Path, file: h5py.File, key: str) -> np.ndarray:
    dataset = file[key]
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: {key!r} is a group, a dataset is expected. Store the array under this name.")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[()], dtype=str)
    if dataset.dtype.kind == "O" or dataset.shape is None:
        raise DataError(f"{path}: {key!r} is an object array or empty. Store one regular array of numbers.")
    return dataset[()]
