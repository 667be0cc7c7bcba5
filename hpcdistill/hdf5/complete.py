"""HDF5 files: opened without locks, and read only where they hold all that they show. Not collective.

A complete file that is only read needs no lock, nor does one that is written under a name that nobody else has. Locks
fail where the file system has none (NFS, Lustre), or where another program keeps the file open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcdistill.hdf5.layout import Layout

if TYPE_CHECKING:
    import h5py

#: More than any compression known to HDF5 makes of a run of equal bytes.
_LARGEST_RATIO = 1100
_SMALL = 1 << 20


@dataclass(frozen=True)
class Content:
    """What was read of a file.

    Attributes:
        attributes: of the file itself: numbers, truth values, text; lists for arrays, None for what is none of these.
        arrays: by their paths without the leading slash: numbers as stored, text as `str`.
        layouts: how the datasets lie in the file of which that was asked, by their paths.
    """

    attributes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    layouts: dict[str, Layout] = field(default_factory=dict)


@contextmanager
def open_complete(path: Path) -> Iterator[h5py.File]:
    """Open a file to read it; nothing in it may lie in another file, or claim to be much larger than what is stored.

    Raises:
        OSError, RuntimeError, KeyError: it is missing, no HDF5 file, or damaged.
        ValueError: it refers to another file of this machine, whose content would pass for its own; or an array is not
            all there.
    """
    import h5py

    with h5py.File(path, "r", **without_lock()) as file:
        for problem in (file.id.links.visit(_wrong_link, info=True), file.visititems(_wrong_object)):
            if problem is not None:
                raise ValueError(problem)
        yield file


def datasets(file: h5py.File, names: Sequence[str] = ()) -> dict[str, h5py.Dataset]:
    """Return the datasets of an open file that have one of these paths or lie below one; all of them without names.

    Raises:
        ValueError: one of them holds neither numbers nor text, or nothing.
    """
    found = {path: dataset for name in names or list(file) for path, dataset in _below(name, file.get(name))}
    for path, dataset in found.items():
        if dataset.shape is None or (dataset.dtype.kind not in "biufc" and not is_text(dataset)):
            raise ValueError(f"{path!r} is an object array or empty: store one regular array of numbers")
    return found


def _below(name: str, item: Any) -> list[tuple[str, h5py.Dataset]]:
    """Return a dataset, or those of a group, with their paths."""
    import h5py

    found: list[tuple[str, h5py.Dataset]] = []

    def look(path: str, member: Any) -> None:
        if isinstance(member, h5py.Dataset):
            found.append((f"{name}/{path}", member))

    if isinstance(item, h5py.Dataset):
        found.append((name, item))
    elif isinstance(item, h5py.Group):
        item.visititems(look)
    return found


def is_text(dataset: h5py.Dataset) -> bool:
    """Return whether a dataset holds text, of fixed or variable length."""
    import h5py

    return h5py.check_string_dtype(dataset.dtype) is not None


def read_content(path: Path, names: Sequence[str] = ()) -> Content:
    """Read a file in this process. Where it comes from somebody else, `apart.read_apart` is the one to use.

    Args:
        names: paths of the datasets to read, or of groups that hold them; default: all.

    Raises:
        OSError, RuntimeError, KeyError, TypeError, MemoryError, ValueError: see `open_complete` and `datasets`.
    """
    with open_complete(path) as file:
        arrays = {key: text_of(dataset) if is_text(dataset) else dataset[()]
                  for key, dataset in datasets(file, names).items()}  # fmt: skip
        return Content(attributes_of(file), arrays)


def attributes_of(file: h5py.File) -> dict[str, Any]:
    """Return the attributes of an open file as in `Content`."""
    return {key: _plain(value) for key, value in file.attrs.items()}


def paths_of(file: h5py.File) -> tuple[str, ...]:
    """Return the paths of all datasets of an open file, as in `Content`."""
    return tuple(path for name in sorted(file) for path, _ in _below(name, file.get(name)))


def text_of(dataset: h5py.Dataset) -> np.ndarray:
    """Return a dataset of text as an array of `str`."""
    return np.asarray(dataset.asstr()[()], dtype=str)


def without_lock() -> dict[str, Any]:
    """Return the arguments for `h5py.File` with which it takes no lock, none where its HDF5 cannot be told."""
    import h5py

    version = h5py.version.hdf5_version_tuple[:3]
    can_be_told = version >= (1, 12, 1) or (1, 10, 7) <= version < (1, 11)
    return {"locking": False} if can_be_told else {}


def _plain(value: Any) -> Any:
    """Return an attribute's value as plain Python has it; None where it has nothing of the kind."""
    if isinstance(value, np.ndarray):
        return [_plain(item) for item in value.tolist()]
    value = value.item() if isinstance(value, np.generic) else value
    if isinstance(value, str):  # bytes that are no text come as half of a character
        return value.encode(errors="surrogateescape").decode(errors="replace")
    return value if isinstance(value, int | float | bool) else None


def _wrong_link(name: bytes, info: Any) -> str | None:
    """Return what is wrong with a link; None goes on to the next. (What is raised here does not get through HDF5.)"""
    import h5py

    if info.type in (h5py.h5l.TYPE_HARD, h5py.h5l.TYPE_SOFT):
        return None
    return f"{name.decode(errors='replace')!r} is a link to another file, which is not followed: store the array itself"


def _wrong_object(name: str, item: Any) -> str | None:
    import h5py

    if not isinstance(item, h5py.Dataset):
        return None
    if item.external or item.is_virtual:
        return f"{name!r} keeps its values in another file, which is not read: store the array itself"
    stored = item.id.get_storage_size()
    if item.shape is not None and item.nbytes > _SMALL + _LARGEST_RATIO * stored:
        return f"{name!r} of shape {item.shape} has only {stored} bytes in the file"
    return None
