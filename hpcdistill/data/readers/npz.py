"""Users' own data in NumPy's `.npz` archives."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from hpcdistill.data.readers.files import check_readable, names_in_zip, one_line
from hpcdistill.data.readers.formats import Choose
from hpcdistill.errors import DataError


class NpzFormat:
    """See `formats.Format`."""

    title = "an .npz of NumPy"
    suffixes = (".npz",)

    def recognises(self, path: Path, head: bytes) -> bool:
        """By the arrays in its archive."""
        return any(name.endswith(".npy") for name in names_in_zip(path, head))

    def read(self, path: Path, choose: Choose) -> dict[str, np.ndarray]:
        """See `read_npz`."""
        return read_npz(path, choose)


def read_npz(path: Path, choose: Choose) -> dict[str, np.ndarray]:
    """Read some of the arrays of an `.npz` file.

    Args:
        path: the file, as `numpy.savez` or `numpy.savez_compressed` writes it; pickled content is refused.
        choose: is given the names of all arrays, and returns those of the ones to read.

    Returns:
        The arrays by name, as stored.

    Raises:
        DataError: unreadable, not an `.npz` file, damaged, or an object array. Not collective.
    """
    check_readable(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file):
            pass
        with np.load(path, allow_pickle=False) as archive:
            return {key: _read_array(path, key, archive) for key in choose(sorted(archive.files))}
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, RuntimeError, MemoryError) as error:
        raise DataError(f"{path}: not a readable .npz file ({one_line(error)}). Write it with numpy.savez.") from None


def _read_array(path: Path, key: str, archive: np.lib.npyio.NpzFile) -> np.ndarray:
    try:
        array = archive[key]
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise
        array = None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path}: {key!r} is an object array. Store one regular array of numbers (of text for names).")
    return array
