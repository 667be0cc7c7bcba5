"""Users' own data in PyTorch's files of tensors, read without PyTorch."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcdistill.data.readers.files import names_in_zip
from hpcdistill.data.readers.formats import Choose
from hpcdistill.torch_file import read_torch


class TorchFormat:
    """See `formats.Format`."""

    title = "a .pt of PyTorch (1.6 or later)"
    suffixes = (".pt", ".pth")

    def recognises(self, path: Path, head: bytes) -> bool:
        """By the pickle in its archive."""
        return any(name.endswith("/data.pkl") for name in names_in_zip(path, head))

    def read(self, path: Path, choose: Choose) -> dict[str, np.ndarray]:
        """See `torch_file.read_torch`."""
        return read_torch(path, choose)
