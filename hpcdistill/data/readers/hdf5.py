"""Users' own data in HDF5 files, read serially."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.readers.files import check_readable, one_line
from hpcdistill.errors import DataError
from hpcdistill.hdf5.apart import read_apart


def read_hdf5(path: Path, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read those of `keys` that are datasets at the root of an HDF5 file, and list all it has there.

    Args:
        path: the file; opened for this process alone, so that any rank may read it on its own.
        keys: names of datasets.

    Returns:
        The arrays present, as stored (text becomes `str` arrays), and the names of all members of the root.

    Raises:
        DataError: unreadable, no HDF5 file, damaged, a group, of variable length, or in another file. Not collective.
    """
    check_readable(path)
    try:
        content = read_apart(path, keys)
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({one_line(error)}). Write it again with h5py.") from None
    for key in keys:
        if key in content.groups:
            raise DataError(f"{path}: {key!r} is a group, a dataset is expected. Store the array under this name.")
    return content.arrays, list(content.root)
