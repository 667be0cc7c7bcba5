"""Files of kernels: made with all their structures before there are tiles, and compressed when all are there.

Compressing takes the memory of a few tiles, and room on the disk for another file beside the first.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcdistill.errors import ConfigError
from hpcdistill.hdf5.deflate import LEVEL, pack
from hpcdistill.hdf5.new_file import NewFile, whole_hdf5
from hpcdistill.io.kernel_file import MARK, VERSION, KernelFile, digest_of, storage_error
from hpcdistill.io.tile import chunk_of, grid_of
from hpcdistill.whole_file import remove_leftovers, temporary_name

if TYPE_CHECKING:
    import h5py

#: From HDF5 1.10 on, chunks that are there from the start lie one after the other, and structures have checksums.
_FORMAT = ("v110", "v110")


def is_there(path: Path) -> bool:
    """Tell whether there is a file of this name, or something else, and remove what killed processes have left of it.

    Raises:
        ConfigError: there can be none.
    """
    try:
        path.stat()
    except FileNotFoundError:
        if not path.parent.is_dir():
            raise ConfigError(f"{path.parent}: no such folder. Make it, or give another place.") from None
        remove_leftovers(path)
        return False
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}. Give another place.") from None
    remove_leftovers(path)
    return True


def create(
    path: Path, shape: tuple[int, int], dtype: np.dtype, tile: int, *, is_symmetric: bool,
    attributes: Mapping[str, Any], arrays: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    """Make a file without tiles, of full size, unless there is one of that name by then. Not collective.

    Args:
        attributes, arrays: what the matrix is of; "group/name" by name.

    Raises:
        StorageError: there is no room for it, or it cannot be written.
    """
    attributes = {"tile": tile, "is_symmetric": is_symmetric, **attributes}
    temporary = temporary_name(path)
    try:
        with NewFile(temporary, libver=_FORMAT) as made:
            _describe(made.file, shape, dtype, attributes, arrays)
            _add_empty(made.file, shape, dtype, tile)
            made.finish()
            os.posix_fallocate(made.descriptor, 0, os.fstat(made.descriptor).st_size)
            os.fsync(made.descriptor)
            with suppress(FileExistsError):  # another process was quicker
                os.link(temporary, path)
    except OSError as error:
        raise storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def compress(file: KernelFile, tell: Callable[[int, int], None] = lambda done, total: None) -> None:
    """Replace a complete file by one whose tiles are compressed without loss. Not collective.

    Args:
        tell: is told how many tiles of how many are done; what it raises ends it.

    Raises:
        CheckpointError: a tile is not there, or damaged.
        StorageError: there is no room for it beside the other, which stays.
    """
    attributes = {"tile": file.tile, "is_symmetric": file.is_symmetric, **file.attributes}
    try:
        with whole_hdf5(file.path.resolve(), libver=_FORMAT) as made:
            _describe(made.file, file.shape, file.dtype, attributes, file.arrays)
            made.file["checksums"] = file.checksums()
            made.file["places"] = _add_compressed(made, file, tell)
    except OSError as error:
        raise storage_error(file.path, error) from error


def _describe(
    into: h5py.File, shape: tuple[int, int], dtype: np.dtype, attributes: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
) -> None:  # fmt: skip
    into.attrs.update(attributes)
    into.attrs[MARK], into.attrs["sha256"] = VERSION, digest_of(shape, dtype, attributes, arrays)
    for name, array in arrays.items():
        into.create_dataset(name, data=array)  # which, unlike into[name], writes no time: equal files have equal bytes


def _add_empty(into: h5py.File, shape: tuple[int, int], dtype: np.dtype, tile: int) -> None:
    import h5py

    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    early.set_chunk(chunk_of(shape, tile))
    into["checksums"] = np.zeros(grid_of(shape, tile), np.uint64)
    into.create_dataset("kernel", shape, dtype, dcpl=early)


def _add_compressed(made: NewFile, file: KernelFile, tell: Callable[[int, int], None]) -> np.ndarray:
    """Write all tiles; return where they are."""
    kernel = made.file.create_dataset("kernel", file.shape, file.dtype, chunks=file.chunk, shuffle=True,
                                      compression="gzip", compression_opts=LEVEL)  # fmt: skip
    places = np.zeros((*file.grid, 2), np.uint64)
    for done, (i, j) in enumerate(np.ndindex(file.grid)):
        tell(done, places.size // 2)
        packed = pack(file.content((i, j)), file.dtype.itemsize)
        kernel.id.write_direct_chunk((i * file.tile, j * file.tile), packed)
        made.check()
        places[i, j] = made.place_of(packed), len(packed)
    return places
