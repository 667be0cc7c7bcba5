"""Kernel matrices in HDF5 that are written tile by tile, by any number of processes, and survive whatever ends them.

The file has its full size, and all its structures, from the start (`kernel_create.create`). Afterwards only the bytes
of tiles and of their checksums change, each at its own place, and they are written without HDF5: nothing that is open,
cached or locked can be lost with a process, two writers of one tile write the same bytes, and file systems without
locks do. A tile counts when its checksum is there, and is right. HDF5's structures are read in a process of its own
(`hdf5.apart`), which damage may end.

    /kernel (rows, columns)      float32 or float64, each tile a chunk; chunks lie one after the other, row by row
    /checksums (tile rows, tile columns)    uint64: CRC-32 of a tile's bytes, and 2^32; 0 where there is no tile
    /places (tile rows, tile columns, 2)    uint64, of a compressed file: where the bytes of a tile begin, how many
    attributes: hpcdistill_kernel (version), tile, is_symmetric, sha256 (of all but the above), and, with all other
                arrays, what the matrix is of

Side and type of tiles cannot change once there is a file. To read it, HDF5 1.10 or newer is needed.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from hpcdistill.digest import sha256_of
from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.hdf5.apart import read_apart
from hpcdistill.hdf5.complete import Content
from hpcdistill.hdf5.deflate import unpack
from hpcdistill.io.tile import chunk_of, grid_of
from hpcdistill.whole_file import is_full, write_at

#: Attribute by which such a file is known, and its value.
MARK, VERSION = "hpcdistill_kernel", 2
#: Set in the checksum of a tile that is there.
THERE = 1 << 32
#: Datasets that are not read where a file is opened.
_TILES = ("kernel", "checksums")


@dataclass(frozen=True, eq=False)
class KernelFile:
    """A file of `kernel_create.create`, open for its tiles. Not collective; may be sent to other ranks.

    Attributes:
        path: of the file.
        shape: of the matrix.
        dtype: of its entries.
        tile: side of a tile.
        is_symmetric: whether rows and columns are the same images. Tiles above the diagonal are then mirror images.
        attributes, arrays: what the matrix is of.
        tiles_from: where the bytes of tiles begin; None where they are compressed.
        places: of compressed tiles.
        checksums_from: where the bytes of checksums begin.
        identity: by which another file that takes its place later is known: number on the disk, and size.
    """

    path: Path
    shape: tuple[int, int]
    dtype: np.dtype
    tile: int
    is_symmetric: bool
    attributes: dict[str, Any]
    arrays: dict[str, np.ndarray]
    tiles_from: int | None
    places: np.ndarray | None
    checksums_from: int
    identity: tuple[int, int]

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open a file.

        Raises:
            CheckpointError: there is none, it is none of a kernel, or its structures, labels or indices are damaged.
        """
        try:
            identity = _identity(os.stat(path))
            content = read_apart(path, choose=_besides_tiles, layouts=_TILES)
            if _identity(os.stat(path)) != identity:
                raise _replaced(path)
            return cls._of(path, content, identity)
        except FileNotFoundError:
            raise CheckpointError(f"{path}: no such file. `hpcdistill kernel` writes it.") from None
        except IsADirectoryError:
            raise CheckpointError(f"{path}: is a folder. Give the name of a file in it.") from None
        except (OSError, ValueError, KeyError, TypeError, MemoryError) as error:  # damage can raise any
            raise CheckpointError(
                f"{path}: is no kernel of `hpcdistill kernel`, or damaged ({reason(error)}). "
                "If it was to be one, remove it, and compute it again."
            ) from None

    @classmethod
    def _of(cls, path: Path, content: Content, identity: tuple[int, int]) -> Self:
        attributes, arrays = dict(content.attributes), dict(content.arrays)
        if (version := attributes.pop(MARK)) != VERSION:
            raise ValueError(f"it has version {version}, this hpcdistill reads {VERSION}")
        places, digest = arrays.pop("places", None), attributes.pop("sha256")
        kernel, checksums = (content.layouts[name] for name in _TILES)
        if digest != digest_of(kernel.shape, np.dtype(kernel.dtype), attributes, arrays):
            raise ValueError("labels, indices or attributes are not those that were written")
        tile, is_symmetric = attributes.pop("tile"), attributes.pop("is_symmetric")
        rows, columns = kernel.shape
        chunk, grid = chunk_of(kernel.shape, tile), grid_of(kernel.shape, tile)
        stored = kernel.start is not None if places is None else places.shape == (*grid, 2)
        if not stored or kernel.chunks != chunk or checksums.shape != grid or checksums.start is None:
            raise ValueError("another program has written it anew")
        return cls(path, (rows, columns), np.dtype(kernel.dtype), tile, is_symmetric, attributes, arrays, kernel.start,
                   places, checksums.start, identity)  # fmt: skip

    @property
    def is_compressed(self) -> bool:
        """Whether it is finished, and its tiles cannot be written any more."""
        return self.places is not None

    @property
    def grid(self) -> tuple[int, int]:
        """Number of tiles along rows and columns."""
        return grid_of(self.shape, self.tile)

    @property
    def chunk(self) -> tuple[int, int]:
        """Shape of a tile in the file, which may be larger than what it has of the matrix."""
        return chunk_of(self.shape, self.tile)

    def tiles(self) -> list[tuple[int, int]]:
        """Return the tiles to be computed, row by row: all, or those of the lower triangle."""
        rows, columns = self.grid
        return [(i, j) for i in range(rows) for j in range(i + 1 if self.is_symmetric else columns)]

    def checksums(self) -> np.ndarray:
        """Return the checksums of all tiles, uint64; 0 for one that is not there."""
        content = self._bytes(self.checksums_from, 8 * math.prod(self.grid))
        return np.frombuffer(content, np.uint64).reshape(self.grid)

    def missing(self) -> list[tuple[int, int]]:
        """Return the tiles that are still to be computed."""
        there = self.checksums() != 0
        if self.is_symmetric:
            there = there & there.T
        return [tile for tile in self.tiles() if not there[tile]]

    def read(self, rows: range, columns: range) -> np.ndarray:
        """Return a block of the matrix, without HDF5 and its locks. Not collective.

        A tile is verified when it is first read through this object; a compressed one each time. What it takes besides
        the block is the memory of three tiles.

        Args:
            rows, columns: within the matrix, of step 1.

        Returns:
            `(len(rows), len(columns))` of `dtype`.

        Raises:
            ValueError: the ranges are not within the matrix, or not of step 1.
            CheckpointError: a tile is not there, or damaged; another file has taken the place of this one.
        """
        for chosen, length in zip((rows, columns), self.shape, strict=True):
            if chosen.step != 1 or not 0 <= chosen.start <= chosen.stop <= length:
                raise ValueError(f"{chosen} is no range of step 1 within {length}.")
        block = np.empty((len(rows), len(columns)), self.dtype)
        for i, in_rows, of_rows in self._parts(rows):
            for j, in_columns, of_columns in self._parts(columns):
                block[in_rows, in_columns] = self._rows_of((i, j), of_rows)[:, of_columns]
        return block

    def content(self, tile: tuple[int, int]) -> bytes:
        """Return the bytes of a tile, `chunk` numbers of `dtype`.

        Raises:
            CheckpointError: it is not there, or damaged.
        """
        content, checksum = self._content(tile), self._checksum(tile)
        if zlib.crc32(content) | THERE != checksum:
            state = "damaged" if checksum else "not there"
            raise CheckpointError(
                f"{self.path}: its tile {tile} is {state}. Start the command that it was made with once more."
            )
        return content

    def write(self, tile: tuple[int, int], block: np.ndarray) -> None:
        """Write a tile, and in a symmetric matrix its mirror image.

        Raises:
            StorageError: it cannot be written.
        """
        self._write(tile, block)
        if self.is_symmetric and tile[0] != tile[1]:
            self._write((tile[1], tile[0]), block.T)

    def is_intact(self, tile: tuple[int, int]) -> bool:
        """Tell whether the bytes of a tile to be computed, and of its mirror image, have their checksums."""
        images = self._images_of(tile)
        return all(zlib.crc32(self._content(one)) | THERE == self._checksum(one) for one in images)

    def forget(self, tile: tuple[int, int]) -> None:
        """Take a tile, and its mirror image, for one that is not there."""
        for one in self._images_of(tile):
            self._put(self._checksum_at(one), bytes(8))

    def flush(self) -> None:
        """Return when all that was written is on the disk."""
        try:
            os.fsync(self._writer)
        except OSError as error:
            raise storage_error(self.path, error) from error

    def close(self) -> None:
        """Close the file; it is opened again where it is needed."""
        for name in ("_reader", "_writer"):
            if (descriptor := self.__dict__.pop(name, None)) is not None:
                os.close(descriptor)

    __del__ = close

    def __getstate__(self) -> dict[str, Any]:
        """Return what is sent to other ranks: not what is open."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _images_of(self, tile: tuple[int, int]) -> set[tuple[int, int]]:
        return {tile, (tile[1], tile[0])} if self.is_symmetric else {tile}

    def _parts(self, chosen: range) -> list[tuple[int, slice, slice]]:
        """Return the tiles that a range meets, and for each what it is of the range, and of the tile."""
        parts, side = [], self.tile
        for number in range(chosen.start // side, -(-chosen.stop // side)) if chosen else []:
            first, last = max(chosen.start, number * side), min(chosen.stop, (number + 1) * side)
            of_tile = slice(first - number * side, last - number * side)
            parts.append((number, slice(first - chosen.start, last - chosen.start), of_tile))
        return parts

    def _rows_of(self, tile: tuple[int, int], rows: slice) -> np.ndarray:
        """Return some rows of a tile."""
        if self.is_compressed or not self._verified[tile]:
            content = self.content(tile)
            self._verified[tile] = True
            return np.frombuffer(content, self.dtype).reshape(self.chunk)[rows]
        width = self.chunk[1] * self.dtype.itemsize
        content = self._bytes(self._tile_at(tile) + rows.start * width, (rows.stop - rows.start) * width)
        return np.frombuffer(content, self.dtype).reshape(-1, self.chunk[1])

    @cached_property
    def _verified(self) -> np.ndarray:
        """Which tiles this object has found to be right."""
        return np.zeros(self.grid, bool)

    @property
    def _tile_bytes(self) -> int:
        return math.prod(self.chunk) * self.dtype.itemsize

    def _tile_at(self, tile: tuple[int, int]) -> int:
        if self.tiles_from is None:
            raise CheckpointError(f"{self.path}: is compressed: its tiles have no places of their own.")
        return self.tiles_from + (tile[0] * self.grid[1] + tile[1]) * self._tile_bytes

    def _checksum_at(self, tile: tuple[int, int]) -> int:
        return self.checksums_from + 8 * (tile[0] * self.grid[1] + tile[1])

    def _checksum(self, tile: tuple[int, int]) -> int:
        return int.from_bytes(self._bytes(self._checksum_at(tile), 8), sys.byteorder)

    def _content(self, tile: tuple[int, int]) -> bytes:
        """Return the bytes of a tile, right or wrong; none where they cannot be had."""
        if self.places is None:
            return self._bytes(self._tile_at(tile), self._tile_bytes)
        at, size = map(int, self.places[tile])
        if at + size > self.identity[1]:
            return b""
        return unpack(self._bytes(at, size), self.dtype.itemsize, self._tile_bytes)

    def _write(self, tile: tuple[int, int], block: np.ndarray) -> None:
        chunk = np.zeros(self.chunk, self.dtype)
        chunk[: block.shape[0], : block.shape[1]] = block
        content = chunk.tobytes()
        self._put(self._tile_at(tile), content)
        self._put(self._checksum_at(tile), np.uint64(zlib.crc32(content) | THERE).tobytes())

    def _put(self, offset: int, content: bytes) -> None:
        try:
            write_at(self._writer, content, offset)
        except OSError as error:
            raise storage_error(self.path, error) from error

    def _bytes(self, offset: int, size: int) -> bytes:
        parts, left = list[bytes](), size
        try:
            while left and (part := os.pread(self._reader, left, offset)):  # of 2 GiB at most
                parts, left, offset = [*parts, part], left - len(part), offset + len(part)
        except OSError as error:
            raise CheckpointError(f"{self.path}: cannot be read ({reason(error)}).") from None
        return b"".join(parts)

    @cached_property
    def _writer(self) -> int:
        try:
            return self._opened(os.O_RDWR)
        except OSError as error:
            raise storage_error(self.path, error) from error

    @cached_property
    def _reader(self) -> int:
        return self._opened(os.O_RDONLY)

    def _opened(self, how: int) -> int:
        descriptor = os.open(self.path, how)
        if _identity(os.fstat(descriptor)) != self.identity:
            os.close(descriptor)
            raise _replaced(self.path)
        return descriptor


def digest_of(
    shape: Sequence[int], dtype: np.dtype, attributes: Mapping[str, Any], arrays: Mapping[str, np.ndarray]
) -> str:
    """Return by what it is known that all but tiles, checksums and places is as it was written."""
    names = sorted(arrays)
    head = json.dumps([list(shape), dtype.str, dict(sorted(attributes.items())), names])
    return hashlib.sha256(f"{head}{sha256_of(*(arrays[name] for name in names))}".encode()).hexdigest()


def check_same(path: Path, there: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str) -> None:
    """Raise `CheckpointError` unless a file is of what is wanted, each described by name."""
    changed = [f"{name}: {there.get(name)!r} → {now!r}" for name, now in wanted.items() if there.get(name) != now]
    if changed:
        raise CheckpointError(f"{path}: is another kernel ({'; '.join(changed)}). {remedy}")


def is_of_kernel(paths: Sequence[str]) -> bool:
    """Tell by the datasets of a file whether it is one of a kernel."""
    return set(_TILES) <= set(paths)


def reason(error: Exception) -> str:
    """Return what is wrong in a few words."""
    if isinstance(error, KeyError):
        return f"it has no {error.args[0]}"
    said = " ".join(str(getattr(error, "strerror", None) or error).split())
    return said.split(" (name = ")[0].split(", sblock")[0]  # where HDF5 says names, times and addresses as well


def storage_error(path: Path, error: Exception) -> StorageError:
    """Return the error that says why a file cannot be written."""
    why = "no space left" if is_full(error) else reason(error)
    return StorageError(
        f"{path}: cannot be written ({why}). Tiles that are there stay: make room, or give another place with "
        "--output, and start the same command again."
    )


def _besides_tiles(paths: Sequence[str]) -> list[str]:
    if not is_of_kernel(paths):
        raise ValueError("it has no datasets kernel and checksums")
    return [path for path in paths if path not in _TILES]


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_ino, status.st_size


def _replaced(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path}: another process has put another file in its place meanwhile. Start the same command again."
    )
