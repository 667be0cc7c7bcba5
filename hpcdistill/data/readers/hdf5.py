"""Users' own data in HDF5 files, read serially."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.readers.files import check_readable, one_line
from hpcdistill.errors import DataError
from hpcdistill.hdf5.apart import read_apart


def read_hdf5(path: Path, choose: Callable[[Sequence[str]], Sequence[str]]) -> dict[str, np.ndarray]:
    """Read some of the datasets of an HDF5 file.

    Args:
        path: the file; opened for this process alone, so that any rank may read it on its own.
        choose: is given the paths of all datasets (`images`, `train/images`), and returns those of the ones to read.

    Returns:
        The arrays by path, as stored (text becomes `str` arrays).

    Raises:
        DataError: unreadable, no HDF5 file, damaged, of variable length, or in another file. Not collective.
    """
    check_readable(path)
    try:
        return read_apart(path, choose=choose).arrays
    except (OSError, ValueError, MemoryError) as error:
        raise DataError(f"{path}: not a readable HDF5 file ({one_line(error)}). Write it again with h5py.") from None
