"""What was read of a folder of pictures, kept until the folder changes. Not collective."""

from __future__ import annotations

import contextlib
import hashlib
import zipfile
from pathlib import Path

import numpy as np

from hpcdistill.data.readers.locate import data_root
from hpcdistill.whole_file import whole_file


class FolderCache:
    """One file in the data folder, for one folder of pictures.

    Args:
        folder: with the pictures.
        state: what says whether they are those that were read: any text.
    """

    def __init__(self, folder: Path, state: str) -> None:
        name = hashlib.sha256(str(folder.absolute()).encode(errors="replace")).hexdigest()[:16]
        self._path, self._state = data_root(None) / "folders" / f"{name}.npz", state

    def read(self) -> dict[str, np.ndarray] | None:
        """Return the arrays by split, or None where there are none of this state."""
        try:
            with np.load(self._path, allow_pickle=False) as file:
                if str(file["state"]) == self._state:
                    return {name: file[name] for name in file.files if name != "state"}
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            pass
        return None

    def write(self, arrays: dict[str, np.ndarray]) -> None:
        """Keep the arrays, where there is room and permission for it."""
        with contextlib.suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(self._path, durable=False) as file:
                np.savez(file, allow_pickle=False, state=np.array(self._state), **arrays)
