"""The kernel of many images, computed tile by tile into a file: `hpcdistill kernel`, and `NeuralKernel.to_hdf5`.

Tiles are dealt out to the ranks as they become free. What a tile is does not depend on who computes it: the file is the
same on any number of ranks, however often it was interrupted. It does depend on the backend and its instruction set,
which the file names, and, in the last digits, on the side of tiles.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hpcdistill.attempt import StopSignal
from hpcdistill.backend import AUTO
from hpcdistill.errors import CheckpointError, ConfigError, NotFiniteError, StopRequested
from hpcdistill.gpu.device import to_host
from hpcdistill.io.kernel_create import compress
from hpcdistill.io.kernel_file import KernelFile
from hpcdistill.kernels.base import KernelBackend, variant
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, gather_objects, greatest, on_root
from hpcdistill.mpi.dealing import dealing
from hpcdistill.mpi.partition import block_range

#: Images of tiles that were computed last, and their norms, are kept up to so many bytes.
_KEPT_BYTES = 1 << 30

Fetch = Callable[[int, int], np.ndarray]
Progress = Callable[[str, int, int], None]
#: What computing tiles is called where its progress is told; checking and compressing them have other names.
TILE = "tile"


@dataclass(frozen=True)
class Images:
    """The images of a matrix.

    Attributes:
        rows, columns: return those of a half-open range of rows or columns, `(n, h, w, c)`; the same function where
            they are the same images.
        shape: `(h, w, c)`.
    """

    rows: Fetch
    columns: Fetch
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Telling:
    """Who is told what, and who says that it is to end.

    Attributes:
        say: is told a line.
        progress: is told of what how much of how much is done.
        asked: hears the signals at which it is to end early.
    """

    say: Callable[[str], None]
    progress: Progress
    asked: StopSignal | None = None


def same_backend(
    comm: MPI.Intracomm, choose: Callable[[str], KernelBackend], requested: str, path: Path, stored: str = ""
) -> KernelBackend:
    """Return a backend that computes the same bits on every rank as those in a file. Collective.

    Args:
        choose: returns a backend by name, or by "auto".
        requested: name, or "auto": that of the file then, if there is one.
        stored: `variant` of the backend that a file was begun with.

    Raises:
        ConfigError: on every rank; ranks have different ones.
        CheckpointError: on every rank; the file was begun with another.
    """
    with agree(comm):
        backend = choose(stored.split()[0] if stored and requested == AUTO else requested)
    found = gather_objects(comm, variant(backend))
    if len(set(found)) > 1:
        raise ConfigError(
            f"kernel.backend: rank 0 would use {found[0]!r} and others {', '.join(sorted(set(found) - {found[0]}))!r}, "
            "whose tiles differ in the last digits. Name one that all have, and set HPCDISTILL_NATIVE_TARGET to an "
            "instruction set that all have."
        )
    if stored and found[0] != stored:
        raise CheckpointError(
            f"{path}: was begun with backend {stored!r}; {found[0]!r}, which would go on with it here, differs in the "
            "last digits. Set kernel.backend, and HPCDISTILL_NATIVE_TARGET for the instruction set, to what it was "
            "begun with, or give another file with --output."
        )
    return backend


def fill(
    comm: MPI.Intracomm, file: KernelFile, images: Images, backend: Callable[[], KernelBackend], telling: Telling
) -> None:
    """Compute the tiles that are not there. Collective.

    Args:
        backend: returns what computes them, on every rank; called, collectively, where any are missing.

    Raises:
        CheckpointError: on every rank; the file is compressed, and not all of it is there.
        NotFiniteError: on every rank; an entry of the kernel is infinite, or none.
        StorageError: on every rank; tiles that were written stay.
        StopRequested: on every rank; the same.
    """
    _check(comm, file, telling)
    missing, total = on_root(comm, file.missing), len(file.tiles())
    if not missing:
        return
    if file.is_compressed:
        raise _not_all_there(file, len(missing))
    if len(missing) < total:
        telling.say(f"{total - len(missing)} of {total} tiles are there")
    _compute(comm, file, images, backend(), missing, telling)
    left = on_root(comm, lambda: len(file.missing()))
    if left:
        _end_if_asked(comm, telling, f"{total - left} of {total} tiles are there")
    telling.progress(TILE, total, total)


def compress_once(comm: MPI.Intracomm, file: KernelFile, telling: Telling) -> None:
    """Compress a complete file, unless it is compressed. Collective.

    Raises:
        StorageError: on every rank; there is no room for it beside the other, which stays.
        StopRequested: on every rank; it stays as it is.
    """

    def tell(done: int, total: int) -> None:
        if telling.asked is not None and telling.asked.number:
            raise _stopped(telling.asked.number, "all tiles are there, and not compressed")
        telling.progress("compressed tile", done, total)

    if not file.is_compressed:
        on_root(comm, lambda: compress(file, tell))


def _check(comm: MPI.Intracomm, file: KernelFile, telling: Telling) -> None:
    """Look at each tile that is there, and take what is damaged for missing. Collective."""
    there = on_root(comm, lambda: _there(file))
    start, stop = block_range(len(there), comm.Get_size(), comm.Get_rank())
    damaged = 0
    with agree(comm):
        for number, tile in enumerate(there[start:stop]):
            if telling.asked is not None and telling.asked.number:
                break
            telling.progress("checked tile", number, stop - start)
            if not file.is_intact(tile):
                damaged += 1
                if not file.is_compressed:
                    file.forget(tile)
    _end_if_asked(comm, telling, f"{len(there)} of {len(file.tiles())} tiles are there")
    if damaged := sum(gather_objects(comm, damaged)):
        if file.is_compressed:
            raise _not_all_there(file, damaged)
        telling.say(f"{damaged} of {len(there)} tiles in {file.path} are damaged, and computed again")


def _there(file: KernelFile) -> list[tuple[int, int]]:
    missing = set(file.missing())
    return [tile for tile in file.tiles() if tile not in missing]


def _compute(
    comm: MPI.Intracomm, file: KernelFile, images: Images, backend: KernelBackend, missing: list[tuple[int, int]],
    telling: Telling,
) -> None:  # fmt: skip
    """Compute tiles until all are there, or a rank is asked to end. Collective."""
    prepared, total = _prepared(file, images, backend), len(file.tiles())
    with agree(comm), dealing(comm, len(missing)) as numbers:
        for number in numbers:
            telling.progress(TILE, total - len(missing) + number, total)
            rows, columns = missing[number]
            block = to_host(backend.block(prepared("rows", rows), prepared("columns", columns)))
            if not np.isfinite(block).all():
                raise _not_finite(file, rows, columns)
            file.write((rows, columns), block)
            if telling.asked is not None and telling.asked.number:
                numbers.stop()
        file.flush()


def _prepared(file: KernelFile, images: Images, backend: KernelBackend) -> Callable[[str, int], Any]:
    """Return a function that gives handles of the images of a row or a column of tiles, and keeps those used last."""
    each = file.tile * 3 * int(np.prod(images.shape)) * backend.dtype.itemsize
    fetch = {"rows": images.rows, "columns": images.columns}
    ends = dict(zip(fetch, file.shape, strict=True))

    @lru_cache(maxsize=max(4, _KEPT_BYTES // max(1, each)))
    def prepare(which: str, number: int) -> Any:
        start = number * file.tile
        return backend.prepare(fetch[which](start, min(start + file.tile, ends[which])))

    same = images.rows is images.columns
    return lambda which, number: prepare("rows" if same else which, number)


def _end_if_asked(comm: MPI.Intracomm, telling: Telling, state: str) -> None:
    """Raise `StopRequested` on every rank where one has heard a signal. Collective."""
    if number := greatest(comm, telling.asked.number if telling.asked is not None else 0):
        raise _stopped(number, state)


def _stopped(number: int, state: str) -> StopRequested:
    return StopRequested(f"stopped by {signal.Signals(number).name}: {state}. The same command goes on.")


def _not_all_there(file: KernelFile, count: int) -> CheckpointError:
    return CheckpointError(
        f"{file.path}: {count} of its tiles are damaged, and it is compressed, so that they cannot be computed again "
        "in their places. Remove it, and start the same command again."
    )


def _not_finite(file: KernelFile, rows: int, columns: int) -> NotFiniteError:
    places = " and ".join(f"{number * file.tile} to {(number + 1) * file.tile - 1}" for number in (rows, columns))
    return NotFiniteError(
        f"{file.path}: the kernel of images {places} is not finite. Use smaller kernel.w_std and kernel.b_std, images "
        "with pixels around 1, or float64."
    )
