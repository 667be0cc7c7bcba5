"""SVHN, the cropped digits.

Source of the format: http://ufldl.stanford.edu/housenumbers/ (format 2): MATLAB 5 files with `X`, `(32, 32, 3, n)`
uint8, and `y`, `(n, 1)`, where label 10 stands for the digit 0.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hpcdistill.data.dataset import Split
from hpcdistill.data.readers.check import make_split
from hpcdistill.data.readers.files import one_line, read_bytes
from hpcdistill.data.registry import KnownDataset
from hpcdistill.errors import DataError


def read_split(paths: Sequence[Path], known: KnownDataset) -> Split:
    """Read a split from its one `.mat` file.

    Args:
        paths: the file.
        known: the data set it holds.

    Returns:
        images `(n, h, w, c)` uint8, labels `(n,)` int64 where the label is the digit.

    Raises:
        DataError: not a MATLAB 5 file, keys or shapes other than published, labels out of range. Not collective.
    """
    (path,) = paths
    content = _load(path)
    for key in ("X", "y"):
        if key not in content:
            raise DataError(f"{path}: no variable {key!r}; it has {sorted(content)}. Fetch the cropped digits.")
    pixels, labels = content["X"], content["y"].ravel()
    if pixels.ndim != 4 or pixels.dtype != np.uint8:
        raise DataError(f"{path}: 'X' must be uint8 (h, w, c, n), it is {pixels.dtype} {pixels.shape}. Fetch it again.")
    if labels.dtype.kind not in "iu":
        raise DataError(f"{path}: 'y' must hold integers, it is {labels.dtype}. Fetch it again.")
    images = pixels.transpose(3, 0, 1, 2)
    return make_split(images, np.where(labels == 10, 0, labels), len(known.class_names), str(path))


def _load(path: Path) -> dict[str, np.ndarray]:
    from scipy.io import loadmat

    raw = read_bytes(path)
    try:
        content = loadmat(io.BytesIO(raw))
    except Exception as error:  # a damaged file can raise anything
        raise DataError(f"{path}: not a readable MATLAB 5 file ({one_line(error)}). Fetch it again.") from None
    return {key: value for key, value in content.items() if isinstance(value, np.ndarray)}
