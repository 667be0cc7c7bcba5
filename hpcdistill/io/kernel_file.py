"""Kernel matrices in HDF5 that are written tile by tile, by any number of processes, and survive whatever ends them.

The file has its full size, and all its structures, from the start. Afterwards only the bytes of tiles and of their
checksums change, each at its own place, and they are written without HDF5: nothing that is open, cached or locked can
be lost with a process, two writers of one tile write the same bytes, and file systems without locks do. A tile counts
when its checksum is there, and is right.

`/kernel` is one dataset, `(rows, columns)`, of which each tile is a chunk.
"""

from __future__ import annotations

import errno
import math
import os
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.hdf5.complete import without_lock
from hpcdistill.whole_file import is_full, replacing, temporary_name

#: Attribute by which such a file is known, and its value.
MARK, VERSION = "hpcdistill_kernel", 1
#: Set in the checksum of a tile that is there.
_THERE = 1 << 32


@dataclass(frozen=True)
class KernelFile:
    """A file of `create`, open for its tiles. Not collective.

    Attributes:
        path: of the file.
        shape: of the matrix.
        dtype: of its entries.
        tile: side of a tile.
        is_symmetric: whether rows and columns are the same images. Tiles above the diagonal are then mirror images.
        is_compressed: whether it is finished, and its tiles cannot be written any more.
        attributes: what the matrix is of.
        inode: which file of the disk it is: one that takes its place later is not written to.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    tile: int
    is_symmetric: bool
    is_compressed: bool
    attributes: dict[str, Any]
    inode: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file.

        Raises:
            CheckpointError: it is none of a kernel, or damaged.
            FileNotFoundError: there is none.
        """
        try:
            with _reading(path) as file:
                attributes = dict(file.attrs)
                kernel = file["kernel"]
                if attributes.pop(MARK) != VERSION or kernel.chunks is None or kernel.ndim != 2:
                    raise KeyError(MARK)
                tile, is_symmetric = int(attributes.pop("tile")), bool(attributes.pop("is_symmetric"))
                return cls(
                    path, kernel.shape, kernel.dtype, tile, is_symmetric, kernel.compression is not None, attributes,
                    _inode(file.id.get_vfd_handle()),
                )  # fmt: skip
        except FileNotFoundError:
            raise
        except (OSError, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"{path}: is no kernel of `hpcdistill kernel`, or damaged ({_cause(error)})."
            ) from None

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles along rows and columns."""
        return -(-self.shape[0] // self.tile), -(-self.shape[1] // self.tile)

    @property
    def chunk(self) -> tuple[int, int]:
        """Shape of a tile in the file, which may be larger than what it has of the matrix."""
        return _chunk(self.shape, self.tile)

    def tiles(self) -> list[tuple[int, int]]:
        """Return the tiles to be computed, row by row: all, or those of the lower triangle."""
        rows, columns = self.grid
        return [(i, j) for i in range(rows) for j in range(i + 1 if self.is_symmetric else columns)]

    def ranges(self, tile: tuple[int, int]) -> tuple[slice, slice]:
        """Return which rows and columns a tile has."""
        (i, j), side = tile, self.tile
        return slice(i * side, min((i + 1) * side, self.shape[0])), slice(j * side, min((j + 1) * side, self.shape[1]))

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what the file holds besides tiles."""
        with _reading(self.path) as file:
            found: list[str] = []
            file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
            return {name: file[name][...] for name in found if name not in ("kernel", "checksums")}

    def checksums(self) -> np.ndarray:
        """Return the checksums of all tiles, uint64; 0 for one that is not there."""
        with _reading(self.path) as file:
            return file["checksums"][...]

    def missing(self) -> list[tuple[int, int]]:
        """Return the tiles that are still to be computed."""
        there = self.checksums() != 0
        return [(i, j) for i, j in self.tiles() if not (there[i, j] and (not self.is_symmetric or there[j, i]))]

    def write(self, tile: tuple[int, int], block: np.ndarray) -> None:
        """Write a tile, and in a symmetric matrix its mirror image.

        Raises:
            StorageError: it cannot be written.
        """
        self._write(tile, block)
        if self.is_symmetric and tile[0] != tile[1]:
            self._write((tile[1], tile[0]), block.T)

    def is_intact(self, tile: tuple[int, int], checksum: int) -> bool:
        """Tell whether the bytes of a tile have a checksum."""
        return zlib.crc32(self._read(tile)) | _THERE == checksum

    def forget(self, tile: tuple[int, int]) -> None:
        """Take a tile for one that is not there."""
        self._put(self._checksum_at(tile), bytes(8))

    def flush(self) -> None:
        """Return when all that was written is on the disk."""
        try:
            os.fsync(self._descriptor)
        except OSError as error:
            raise _storage_error(self.path, error) from error

    def _write(self, tile: tuple[int, int], block: np.ndarray) -> None:
        chunk = np.zeros(self.chunk, self.dtype)
        chunk[: block.shape[0], : block.shape[1]] = block
        content = chunk.tobytes()
        self._put(self._places[tile], content)
        self._put(self._checksum_at(tile), np.uint64(zlib.crc32(content) | _THERE).tobytes())

    def _put(self, offset: int, content: bytes) -> None:
        view = memoryview(content)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise _storage_error(self.path, error) from error

    def _read(self, tile: tuple[int, int]) -> bytes:
        if self.is_compressed:
            return self._decompressed(tile)
        parts, left, offset = list[bytes](), math.prod(self.chunk) * self.dtype.itemsize, self._places[tile]
        while left and (part := os.pread(self._reader, left, offset)):  # of 2 GiB at most
            parts, left, offset = [*parts, part], left - len(part), offset + len(part)
        return b"".join(parts)

    def _decompressed(self, tile: tuple[int, int]) -> bytes:
        chunk = np.zeros(self.chunk, self.dtype)
        try:
            with _reading(self.path) as file:
                block = file["kernel"][self.ranges(tile)]
        except (OSError, RuntimeError, KeyError):  # what cannot be decompressed
            return b""
        chunk[: block.shape[0], : block.shape[1]] = block
        return chunk.tobytes()

    def _checksum_at(self, tile: tuple[int, int]) -> int:
        return self._checksums_from + 8 * (tile[0] * self.grid[1] + tile[1])

    @cached_property
    def _descriptor(self) -> int:
        return self._opened(os.O_RDWR)

    @cached_property
    def _reader(self) -> int:
        return self._opened(os.O_RDONLY)

    def _opened(self, how: int) -> int:
        try:
            descriptor = os.open(self.path, how)
        except OSError as error:
            raise _storage_error(self.path, error) from error
        if _inode(descriptor) != self.inode:
            os.close(descriptor)
            raise self._replaced()
        return descriptor

    def _replaced(self) -> CheckpointError:
        return CheckpointError(
            f"{self.path}: another process has put another file in its place meanwhile. Start the same command again."
        )

    @cached_property
    def _checksums_from(self) -> int:
        """Where the bytes of checksums begin."""
        with _reading(self.path) as file:
            return file["checksums"].id.get_offset()

    @cached_property
    def _places(self) -> dict[tuple[int, int], int]:
        """Where the bytes of each tile begin."""
        with _reading(self.path) as file:
            if _inode(file.id.get_vfd_handle()) != self.inode:
                raise self._replaced()
            chunks, (rows, columns) = file["kernel"].id, self.grid
            return {(i, j): chunks.get_chunk_info_by_coord((i * self.tile, j * self.tile)).byte_offset
                    for i in range(rows) for j in range(columns)}  # fmt: skip


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
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    empty = early.copy()
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    early.set_chunk(_chunk(shape, tile))
    empty.set_fill_time(h5py.h5d.FILL_TIME_ALLOC)
    temporary = temporary_name(path)
    try:
        with h5py.File(temporary, "w", **without_lock()) as file:
            file.attrs[MARK], file.attrs["is_symmetric"], file.attrs["tile"] = VERSION, is_symmetric, tile
            file.attrs.update(attributes)
            for name, array in arrays.items():
                file[name] = array
            grid = (-(-shape[0] // tile), -(-shape[1] // tile))
            file.create_dataset("checksums", grid, np.uint64, dcpl=empty)
            file.create_dataset("kernel", shape, dtype, dcpl=early)
        with temporary.open("r+b") as made:
            os.posix_fallocate(made.fileno(), 0, os.fstat(made.fileno()).st_size)
            os.fsync(made.fileno())
        os.link(temporary, path)
    except FileExistsError:
        pass  # another process was quicker
    except (OSError, RuntimeError) as error:
        raise _storage_error(path, error) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Raise `CheckpointError` unless a file is of what is wanted, each described by name."""
    changed = [f"{name}: {there.get(name)!r} → {now!r}" for name, now in wanted.items() if there.get(name) != now]
    if changed:
        raise CheckpointError(f"{path}: is another kernel ({'; '.join(changed)}). {remedy}")


def compress(file: KernelFile) -> None:
    """Replace a complete file by one whose tiles are compressed without loss. Not collective.

    Raises:
        StorageError: there is no room for it beside the other.
    """
    try:
        with (
            replacing(file.path.resolve()) as temporary,
            _reading(file.path) as source,
            h5py.File(temporary, "w", **without_lock()) as target,
        ):
            target.attrs.update(dict(source.attrs))
            for name in source:
                if name != "kernel":
                    source.copy(name, target)
            kernel = target.create_dataset("kernel", file.shape, file.dtype, chunks=file.chunk,
                                           compression="gzip", compression_opts=4, shuffle=True)  # fmt: skip
            for start in range(0, file.shape[0], file.tile):
                kernel[start : start + file.tile] = source["kernel"][start : start + file.tile]
    except (OSError, RuntimeError) as error:
        raise _storage_error(file.path, error) from error


def _reading(path: Path) -> h5py.File:
    return h5py.File(path, "r", **without_lock())


def _inode(descriptor: int) -> tuple[int, int]:
    status = os.fstat(descriptor)
    return status.st_dev, status.st_ino


def _chunk(shape: tuple[int, int], tile: int) -> tuple[int, int]:
    return min(tile, shape[0]), min(tile, shape[1])


def is_kernel_file(path: Path) -> bool:
    """Tell whether this is a file of a kernel; not where it cannot be read."""
    try:
        with _reading(path) as file:
            return MARK in file.attrs
    except (OSError, RuntimeError):
        return False


def _cause(error: Exception) -> str:
    """Return what is wrong in a few words: HDF5 says names, times and addresses as well."""
    said = " ".join(str(error).split())
    codes = [
        number for number in (errno.EISDIR, errno.EACCES, errno.EROFS, errno.ENOENT) if f"errno = {number}," in said
    ]
    return os.strerror(codes[0]) if codes else said.split(" (name = ")[0].split(", sblock")[0]


def _storage_error(path: Path, error: Exception) -> StorageError:
    reason = "no space left" if is_full(error) else _cause(error)
    return StorageError(
        f"{path}: cannot be written ({reason}). Tiles that are there stay: make room, or give another place with "
        "--output, and start the same command again."
    )
