"""A pickle reader that builds NumPy arrays of numbers and plain containers, and refuses everything else.

A pickle may name any function and have it called. Here a name is looked up in a table of the few that NumPy arrays
need, and stand-ins take their place: NumPy's own would believe a forged type or size, and read or free memory that is
not theirs. So a file from an unknown source can do no more than be rejected.

Source of the format: `numpy.ndarray.__reduce_ex__` and `numpy.dtype.__reduce__`.
"""

from __future__ import annotations

import io
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np

from hpcdistill.data.readers.files import one_line, read_bytes
from hpcdistill.errors import DataError


class PickledType:
    """Stand-in for `numpy.dtype`: keeps the type's code and byte order, and ignores the rest."""

    def __init__(self, code: str | bytes, *_: object) -> None:
        self.code, self.order = _text(code), "|"

    def __setstate__(self, state: tuple) -> None:
        self.order = _text(state[1])

    def dtype(self) -> np.dtype:
        """Return the type if it is one of numbers; otherwise raise `ValueError`."""
        if not re.fullmatch("[iuf][1248]", self.code):
            raise ValueError(f"an array of type {self.code!r}, not of numbers")
        return np.dtype(self.order + self.code)


class PickledArray:
    """Stand-in for `numpy.ndarray`; `value` is the array once its state is known."""

    value: np.ndarray | None = None

    def __setstate__(self, state: tuple) -> None:
        _, shape, type_, fortran, raw = state
        self.value = _array(raw, type_, shape, "F" if fortran else "C")


def _array(raw: bytes, type_: PickledType, shape: tuple[int, ...], order: Any) -> np.ndarray:
    return np.frombuffer(raw, type_.dtype()).reshape(shape, order=order)


def _reconstruct(*_: object) -> PickledArray:
    return PickledArray()


def _frombuffer(raw: bytes, type_: PickledType, shape: tuple[int, ...], order: Any, *_: object) -> PickledArray:
    array = PickledArray()
    array.value = _array(raw, type_, shape, order)
    return array


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, by which Python 3 writes bytes in the protocols of Python 2."""
    if encoding != "latin1":
        raise ValueError(f"encoding {encoding!r}")
    return text.encode("latin1")


def _text(value: str | bytes) -> str:
    return value.decode("latin1") if isinstance(value, bytes) else str(value)


ADMITTED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): PickledArray,
    ("numpy", "dtype"): PickledType,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy._core.numeric", "_frombuffer"): _frombuffer,
    ("_codecs", "encode"): _encode,
}


class ArrayUnpickler(pickle.Unpickler):
    """Unpickler that admits the globals in `ADMITTED` only."""

    def __init__(self, path: Path, raw: bytes) -> None:
        super().__init__(io.BytesIO(raw), encoding="bytes")
        self._path = path

    def find_class(self, module: str, name: str) -> Any:
        """Return the stand-in for `module.name` if that is admitted; otherwise raise `DataError`."""
        if (module, name) not in ADMITTED:
            raise DataError(
                f"{self._path}: refused, the pickle asks for {f'{module}.{name}'!r}, which is neither an array nor a "
                "plain container. Do not use this file; fetch the published archive."
            )
        return ADMITTED[module, name]


def load_pickle(path: Path) -> dict[str, Any]:
    """Read a pickled dictionary of arrays and plain values.

    Args:
        path: the file; written by Python 2 or 3, any protocol.

    Returns:
        The dictionary, with keys as `str`; arrays may be read-only.

    Raises:
        DataError: the pickle names a global that is not admitted, has an array of something else than numbers, is
            damaged, or is no dictionary. Not collective.
    """
    unpickler = ArrayUnpickler(path, read_bytes(path))
    try:
        content = unpickler.load()
    except DataError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise DataError(f"{path}: damaged pickle ({one_line(error)}). Fetch the archive again.") from None
    if not isinstance(content, dict):
        raise DataError(f"{path}: holds a {type(content).__name__}, not a dictionary. Fetch the archive again.")
    return {
        _text(key): value.value if isinstance(value, PickledArray) else value
        for key, value in content.items()
        if isinstance(key, str | bytes)
    }
