"""PyTorch's files of tensors (`.pt`), written and read without PyTorch, and without running what a file names.

A file is an uncompressed zip archive: `NAME/data.pkl`, a pickle of containers and tensors, and `NAME/data/KEY`, the
numbers of each tensor. Source of the format: `torch.save` and `torch.load` of PyTorch 1.6 and later.
"""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from hpcdistill.errors import DataError

_STORAGES = {
    "FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "ByteStorage": "u1", "CharStorage": "i1",
    "ShortStorage": "<i2", "IntStorage": "<i4", "LongStorage": "<i8", "BoolStorage": "?",
}  # fmt: skip
_OF_DTYPE = {np.dtype(code): name for name, code in _STORAGES.items()}


def write_torch(file: BinaryIO, content: Mapping[str, np.ndarray | Sequence[str] | str]) -> None:
    """Write a dictionary of tensors, lists of texts and texts as `torch.load(…, weights_only=True)` reads it.

    Args:
        content: arrays of the types that PyTorch has.
    """
    arrays = [np.ascontiguousarray(value) for value in content.values() if isinstance(value, np.ndarray)]
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", _pickled(content))
        archive.writestr("archive/byteorder", "little")
        for number, array in enumerate(arrays):
            archive.writestr(f"archive/data/{number}", array.astype(array.dtype.newbyteorder("<")).tobytes())
        archive.writestr("archive/version", "3\n")


def _pickled(content: Mapping[str, np.ndarray | Sequence[str] | str]) -> bytes:
    """Return the pickle, protocol 2, that names PyTorch's functions, which need not be there."""
    parts, number = [b"\x80\x02}("], 0
    for key, value in content.items():
        parts.append(_text(key))
        if isinstance(value, np.ndarray):
            parts.append(_tensor(value, number))
            number += 1
        else:
            parts.append(_text(value) if isinstance(value, str) else b"](" + b"".join(map(_text, value)) + b"e")
    return b"".join([*parts, b"u."])


def _tensor(array: np.ndarray, number: int) -> bytes:
    storage = _tuple(
        _text("storage"),
        _global("torch", _OF_DTYPE[array.dtype]),
        _text(str(number)),
        _text("cpu"),
        _number(array.size),
    )
    strides = [math.prod(array.shape[axis + 1 :]) for axis in range(array.ndim)]
    arguments = _tuple(storage + b"Q", _number(0), _tuple(*map(_number, array.shape)), _tuple(*map(_number, strides)),
                       b"\x89", _global("collections", "OrderedDict") + b")R")  # fmt: skip
    return _global("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def _text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def _number(value: int) -> bytes:
    if value < 2**31:
        return b"J" + struct.pack("<i", value)
    raw = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def _tuple(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def _global(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def read_torch(
    path: Path, choose: Callable[[Sequence[str]], Sequence[str]] = lambda names: names
) -> dict[str, np.ndarray]:
    """Read some of the tensors of a file, texts, and lists of texts, as arrays.

    Args:
        path: the file.
        choose: is given the places of all tensors, "images", "data/0/1", or "" where the file is one tensor; returns
            those of the ones to read.

    Raises:
        DataError: it is no such file, is damaged, or asks for more than tensors and containers. Not collective.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith("/data.pkl")]
            content = _Unpickler(archive, name.removesuffix("data.pkl")).load()
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    except FileNotFoundError:
        raise DataError(f"{path}: no such file. Check the path.") from None
    except Exception as error:  # damage can raise any
        said = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"{path}: not a file of PyTorch 1.6 or later, or damaged ({said}). Copy it again, or write "
            "it with torch.save."
        ) from None
    tensors = dict(_tensors(content, ""))
    return {name: tensors[name] for name in choose(list(tensors))}


def _tensors(content: Any, place: str) -> list[tuple[str, np.ndarray]]:
    if isinstance(content, np.ndarray):
        return [(place, content)]
    if isinstance(content, str):
        return [(place, np.array(content))]
    if isinstance(content, list | tuple) and content and all(isinstance(item, str) for item in content):
        return [(place, np.array(content))]
    items: Any = ()
    if isinstance(content, Mapping):
        items = content.items()
    elif isinstance(content, list | tuple):
        items = enumerate(content)
    return [found for key, value in items for found in _tensors(value, f"{place}/{key}".lstrip("/"))]


class _Unpickler(pickle.Unpickler):
    """Reads tensors as arrays; admits no other function or class than those of tensors."""

    def __init__(self, archive: zipfile.ZipFile, folder: str) -> None:
        super().__init__(io.BytesIO(archive.read(f"{folder}data.pkl")))
        self._archive, self._folder = archive, folder

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in for what is admitted."""
        if module in ("torch", "torch.storage") and name in _STORAGES:
            return np.dtype(_STORAGES[name])
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("collections", "OrderedDict"): OrderedDict,
        }
        if (module, name) not in known:
            raise DataError(
                f"refused, it asks for {f'{module}.{name}'!r}, which is neither a tensor nor a plain container. Store "
                "tensors of numbers only."
            )
        return known[module, name]

    def persistent_load(self, pid: Any) -> np.ndarray:
        """Return the numbers of a tensor."""
        _, dtype, key, _, count = pid
        raw = self._archive.read(f"{self._folder}data/{key}")
        return np.frombuffer(raw, dtype, count)


def _rebuild(storage: np.ndarray, offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: Any) -> np.ndarray:
    """Return a tensor's numbers in C order, having made sure that they lie in its storage."""
    last = offset + sum((n - 1) * stride for n, stride in zip(shape, strides, strict=True))
    if min((offset, *shape, *strides), default=0) < 0 or (0 not in shape and last >= storage.size):
        raise ValueError(f"a tensor {shape} is not all there")
    step = storage.itemsize
    view = np.lib.stride_tricks.as_strided(storage[offset:], shape, [stride * step for stride in strides])
    return view.copy()
