"""Users' own data in NumPy's `.npz` archives."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.readers.files import check_readable, one_line
from hpcdistill.errors import DataError


def read_npz(path: Path, keys: Sequence[str]) -> tuple[dict[str, np.ndarray], list[str]]:
    """Read those of `keys` that an `.npz` file has, and list all it has.

    Args:
        path: the file, as `numpy.savez` or `numpy.savez_compressed` writes it; pickled content is refused.
        keys: names of arrays.

    Returns:
        The arrays present, as stored, and the names of all arrays in the file.

    Raises:
        DataError: unreadable, not an `.npz` file, damaged, or an object array. Not collective.
    """
    check_readable(path)
    try:
        with path.open("rb") as file, zipfile.ZipFile(file):
            pass
        with np.load(path, allow_pickle=False) as archive:
            arrays = {key: _read_array(path, key, archive) for key in keys if key in archive.files}
            return arrays, sorted(archive.files)
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
