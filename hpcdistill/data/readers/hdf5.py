"""Users' own data in HDF5 files, read serially."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcdistill.data.readers.files import check_readable, one_line
from hpcdistill.data.readers.formats import Choose
from hpcdistill.errors import DataError
from hpcdistill.hdf5.apart import read_apart

SIGNATURE = b"\x89HDF\r\n\x1a\n"


class Hdf5Format:
    """See `formats.Format`."""

    title = "HDF5"
    suffixes = (".h5", ".hdf5")

    def recognises(self, path: Path, head: bytes) -> bool:
        """By the signature, which may follow a block of the user's own of 512, 1024, 2048 … bytes."""
        del path
        return any(head[start : start + 8] == SIGNATURE for start in (0, 512, 1024, 2048))

    def read(self, path: Path, choose: Choose) -> dict[str, np.ndarray]:
        """See `read_hdf5`."""
        return read_hdf5(path, choose)


def read_hdf5(path: Path, choose: Choose) -> dict[str, np.ndarray]:
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
