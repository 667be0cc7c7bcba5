"""Opening HDF5 files: without locks, and only such as hold all that they show. Not collective.

A complete file that is only read needs no lock, nor does one that is written under a name that nobody else has. Locks
fail where the file system has none (NFS, Lustre), or where another program keeps the file open.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

#: More than any compression known to HDF5 makes of a run of equal bytes.
_LARGEST_RATIO = 1100
_SMALL = 1 << 20


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


def without_lock() -> dict[str, Any]:
    """Return the arguments for `h5py.File` with which it takes no lock, none where its HDF5 cannot be told."""
    import h5py

    version = h5py.version.hdf5_version_tuple[:3]
    can_be_told = version >= (1, 12, 1) or (1, 10, 7) <= version < (1, 11)
    return {"locking": False} if can_be_told else {}


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
