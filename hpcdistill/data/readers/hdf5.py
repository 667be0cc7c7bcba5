"""Users' own data in HDF5 files, read serially."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from hpcdistill.data.readers.files import check_readable, one_line
from hpcdistill.errors import DataError


def read_hdf5(path: Path, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read those of `keys` that are datasets at the root of an HDF5 file, and list all it has there.

    Args:
        path: the file; opened by this process alone, so that any rank may read it on its own.
        keys: names of datasets.

    Returns:
        The arrays present, as stored (text becomes `str` arrays), and the names of all members of the root.

    Raises:
        DataError: unreadable, not an HDF5 file, damaged, a group, or of variable length. Not collective.
    """
    check_readable(path)
    try:
        with h5py.File(path, "r", locking="best-effort") as file:
            return {key: _read_dataset(path, file, key) for key in keys if key in file}, sorted(file)
    except (OSError, KeyError, RuntimeError, ValueError, TypeError, MemoryError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({one_line(error)}). Write it again with h5py.") from None


def _read_dataset(path: Path, file: h5py.File, key: str) -> np.ndarray:
    dataset = _open(path, file, key)
    if not isinstance(dataset, h5py.Dataset):
        raise DataError(f"{path}: {key!r} is a group, a dataset is expected. Store the array under this name.")
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[()], dtype=str)
    if dataset.dtype.kind == "O" or dataset.shape is None:
        raise DataError(f"{path}: {key!r} is an object array or empty. Store one regular array of numbers.")
    return dataset[()]


def _open(path: Path, file: h5py.File, key: str) -> h5py.Dataset | h5py.Group:
    try:
        return file[key]
    except KeyError:
        link = file.get(key, getlink=True)
        if not isinstance(link, h5py.ExternalLink):
            raise
        raise DataError(  # HDF5 itself does not always say which file it missed
            f"{path}: {key!r} is a link to {link.path!r} of {link.filename}, which cannot be opened. "
            f"Put that file there, or store the array itself."
        ) from None
