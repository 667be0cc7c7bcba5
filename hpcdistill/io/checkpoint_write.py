"""Writing checkpoints in parallel HDF5: by all ranks, complete or not there at all.

A file is written collectively under a temporary name, marked complete, flushed to disk and only then renamed, so that a
process killed at any moment leaves the checkpoint before it untouched.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np

from hpcdistill.errors import EnvironmentSetupError, InterruptedWriteError, StorageError
from hpcdistill.hdf5.complete import without_lock
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import on_root
from hpcdistill.mpi.partition import block_range
from hpcdistill.whole_file import is_full, publish, temporary_name

#: Room set aside on disk beyond the arrays, for HDF5's own structures.
_METADATA_BYTES = 1 << 20
#: Files whose closing would wait for other ranks, kept from being closed as what nobody refers to is.
_LEFT_OPEN: list[h5py.File] = []


def require_parallel_hdf5(comm: MPI.Intracomm) -> None:
    """Raise `EnvironmentSetupError` where several ranks could not write one file together. Not collective."""
    if comm.Get_size() > 1 and not h5py.get_config().mpi:
        raise EnvironmentSetupError(
            f"h5py was built without parallel HDF5, which {comm.Get_size()} ranks need. "
            "Build it as jobs/setup.sh does, or run on one rank."
        )


def write_checkpoint(comm: MPI.Intracomm, path: Path, checkpoint: Checkpoint) -> None:
    """Write `path` so that it is complete or absent, whatever happens. Collective.

    Args:
        comm: every rank gives the same `checkpoint` and writes its share of the rows.
        path: final name; its directory exists.

    Raises:
        StorageError: no space, quota, or I/O error; `path` is as it was before.
    """
    n_bytes = sum(array.nbytes for array in checkpoint.arrays.values()) + _METADATA_BYTES
    temporary = on_root(comm, lambda: _check_room(path, n_bytes))
    try:
        _write_collectively(comm, temporary, path, checkpoint)
    except StorageError:
        temporary.unlink(missing_ok=True)
        raise
    except (OSError, RuntimeError) as error:  # h5py raises either when the disk fills up under it
        temporary.unlink(missing_ok=True)
        raise InterruptedWriteError(str(_storage_error(path, error))) from error
    comm.Barrier()
    on_root(comm, lambda: _publish(temporary, path))


def _write_collectively(comm: MPI.Intracomm, temporary: Path, path: Path, checkpoint: Checkpoint) -> None:
    early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    early.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    arrays = {name: np.atleast_1d(array) for name, array in checkpoint.arrays.items()}
    how = {"driver": "mpio", "comm": comm} if comm.Get_size() > 1 else without_lock()
    with _closed_together(comm, h5py.File(temporary, "w", **how)) as file:
        file.attrs["complete"] = False
        for key, value in checkpoint.attributes.items():
            file.attrs[key] = value
        for name, array in arrays.items():
            file.create_dataset(name, array.shape, array.dtype, dcpl=early)
        file.flush()
        on_root(comm, lambda: _hold_room(temporary, path))
        for name, array in arrays.items():
            _write_rows(comm, file[name], array)
        file.flush()
        file.attrs["complete"] = True


@contextmanager
def _closed_together(comm: MPI.Intracomm, file: h5py.File) -> Iterator[h5py.File]:
    """Close a file where all ranks come to; a rank that fails by itself leaves it open, not to wait for the others."""
    try:
        yield file
    except StorageError:  # from `on_root`: on every rank
        file.close()
        raise
    except BaseException:
        if comm.Get_size() > 1:
            _LEFT_OPEN.append(file)
        else:
            file.close()
        raise
    file.close()


def _write_rows(comm: MPI.Intracomm, dataset: h5py.Dataset, array: np.ndarray) -> None:
    """Write this rank's rows of one array; all ranks take part, also those without rows."""
    if array.size == 0:
        return
    if comm.Get_size() == 1:
        dataset[...] = array
        return
    # h5py's dataset[...] returns early where nothing is selected, and the other ranks would wait for ever.
    start, stop = block_range(len(array), comm.Get_size(), comm.Get_rank())
    in_file, rows = dataset.id.get_space(), np.ascontiguousarray(array[start:stop])
    in_memory = h5py.h5s.create_simple(rows.shape)
    if rows.size:
        in_file.select_hyperslab((start,) + (0,) * (array.ndim - 1), rows.shape)
    else:
        in_file.select_none()
        in_memory.select_none()
    transfer = h5py.h5p.create(h5py.h5p.DATASET_XFER)
    transfer.set_dxpl_mpio(h5py.h5fd.MPIO_COLLECTIVE)
    dataset.id.write(in_memory, in_file, rows, dxpl=transfer)


def _check_room(path: Path, n_bytes: int) -> Path:
    """Ask for the disk space while no rank depends on it yet, so that a full disk is one clear error.

    HDF5 then cuts the file to nothing; what holds the space is `_hold_room`.

    Returns:
        the name under which `path` is written.
    """
    temporary = temporary_name(path)
    try:
        descriptor = os.open(temporary, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o666)
        try:
            os.posix_fallocate(descriptor, 0, n_bytes)
        finally:
            os.close(descriptor)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _storage_error(path, error, n_bytes) from error
    return temporary


def _hold_room(temporary: Path, path: Path) -> None:
    """Have the disk give the blocks of a file whose arrays have their places, and are still to be written."""
    try:
        descriptor = os.open(temporary, os.O_WRONLY)
        try:
            os.posix_fallocate(descriptor, 0, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _storage_error(path, error) from error


def _publish(temporary: Path, path: Path) -> None:
    try:
        publish(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _storage_error(path, error) from error


def _storage_error(path: Path, error: OSError | RuntimeError, n_bytes: int | None = None) -> StorageError:
    full = is_full(error)
    needed = f" for {n_bytes / 2**20:.1f} MiB" if n_bytes else ""
    reason = f"no space left{needed}" if full else str(error).splitlines()[0]
    return StorageError(
        f"{path.parent}: checkpoint {path.name} could not be written ({reason}). "
        "The checkpoints before it are intact: make room, then continue with --resume."
    )
