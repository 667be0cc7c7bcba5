"""`NeuralKernel.to_hdf5`: the kernel of arrays of images, computed tile by tile into a file."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from hpcdistill.digest import sha256_of
from hpcdistill.errors import InputError
from hpcdistill.io.kernel_create import create, is_there
from hpcdistill.io.kernel_file import KernelFile, check_same
from hpcdistill.io.tile import check_count, check_side
from hpcdistill.kernels.base import KernelBackend, variant
from hpcdistill.mpi.binding import MPI, missing
from hpcdistill.mpi.collectives import agree, gather_objects, on_root
from hpcdistill.run.kernel_matrix import TILE, Images, Telling, compress_once, fill, same_backend

if TYPE_CHECKING:
    from hpcdistill.api.kernel import NeuralKernel

#: Arguments of `to_hdf5` by what they decide on.
_ARGUMENTS = {"rows_sha256": "x1", "columns_sha256": "x2", "is_symmetric": "x2", "shape": "images"}


def kernel_to_file(
    kernel: NeuralKernel, path: str | os.PathLike[str], x: tuple[ArrayLike, ArrayLike | None], tile: int, comm: Any,
    *, compressed: bool,
) -> None:  # fmt: skip
    """See `NeuralKernel.to_hdf5`; `x` is `(x1, x2)`. Collective over `comm`."""
    comm = _communicator(comm)
    with agree(comm):
        place = _place(path)
        rows, columns = kernel.both(*x)
        wanted = _wanted(kernel, rows, columns, tile)
    _check_same_everywhere(comm, wanted | {"path": str(place), "compress": bool(compressed)})
    shape = rows.shape[1], rows.shape[2], rows.shape[3]

    def choose(name: str) -> KernelBackend:
        return (kernel if name == kernel.backend else replace(kernel, backend=name)).backend_for(shape)

    file = on_root(comm, lambda: _stored(place, wanted))
    if file is None:
        chosen = variant(same_backend(comm, choose, kernel.backend, place))
        on_root(comm, lambda: _create(place, wanted, chosen))
        file = on_root(comm, lambda: KernelFile.open(place))
        check_same(place, _there(file), wanted, "Give another path.")  # another process may have been quicker
    stored, telling = file.attributes["backend"], Telling(lambda line: None, _progress(kernel))
    fill(comm, file, _images(rows, columns), lambda: same_backend(comm, choose, kernel.backend, place, stored), telling)
    if compressed:
        compress_once(comm, file, telling)


def _communicator(comm: Any) -> MPI.Intracomm:
    if comm is None:
        return MPI.COMM_SELF
    if not isinstance(comm, MPI.Intracomm):
        without = f"; this process computes without MPI ({missing})" if missing else ""
        raise TypeError(f"comm must be an intracommunicator of mpi4py, or None, not {comm!r}{without}.")
    return comm


def _place(path: Any) -> Path:
    if not isinstance(path, (str, os.PathLike)):
        raise TypeError(f"path must be a str or a Path, not {path!r}.")
    return Path(os.path.realpath(path))


def _wanted(kernel: NeuralKernel, rows: np.ndarray, columns: np.ndarray, tile: int) -> dict[str, Any]:
    """Return what decides on the entries."""
    shape = len(rows), len(columns)
    if 0 in shape:
        raise InputError(f"A kernel of {shape[0]} by {shape[1]} images has no tiles.")
    side = check_side(tile)
    check_count(side, shape)
    return {
        "network": kernel.network, "kind": kernel.kind, "w_std": float(kernel.w_std), "b_std": float(kernel.b_std),
        "rows_sha256": sha256_of(rows), "columns_sha256": sha256_of(columns), "shape": shape, "dtype": kernel.dtype,
        "tile": side, "is_symmetric": columns is rows,
    }  # fmt: skip


def _there(file: KernelFile) -> dict[str, Any]:
    own = {"shape": file.shape, "dtype": str(file.dtype), "tile": file.tile, "is_symmetric": file.is_symmetric}
    return file.attributes | own


def _check_same_everywhere(comm: MPI.Intracomm, mine: dict[str, Any]) -> None:
    """Raise `InputError`, on every rank, where ranks want different things. Collective."""
    found = gather_objects(comm, mine)
    for rank, other in enumerate(found):
        if names := [name for name in mine if other[name] != found[0][name]]:
            said = ", ".join(dict.fromkeys(_ARGUMENTS.get(name, name) for name in names))
            raise InputError(f"Rank {rank} gives another {said} than rank 0: all ranks give the same.")


def _stored(path: Path, wanted: dict[str, Any]) -> KernelFile | None:
    """Return the file that is there, if there is one; `CheckpointError` where it is of something else."""
    if not is_there(path):
        return None
    file = KernelFile.open(path)
    check_same(path, _there(file), wanted, "Give another path.")
    return file


def _create(path: Path, wanted: dict[str, Any], backend: str) -> None:
    attributes = wanted | {"backend": backend}
    shape, dtype, tile, is_symmetric = (attributes.pop(name) for name in ("shape", "dtype", "tile", "is_symmetric"))
    create(path, shape, np.dtype(dtype), tile, is_symmetric=is_symmetric, attributes=attributes, arrays={})


def _images(rows: np.ndarray, columns: np.ndarray) -> Images:
    def of_rows(start: int, stop: int) -> np.ndarray:
        return rows[start:stop]

    def of_columns(start: int, stop: int) -> np.ndarray:
        return columns[start:stop]

    shape = rows.shape[1], rows.shape[2], rows.shape[3]
    return Images(of_rows, of_rows if columns is rows else of_columns, shape)


def _progress(kernel: NeuralKernel) -> Any:
    def tell(what: str, done: int, total: int) -> None:
        if kernel.progress is not None and what == TILE:
            kernel.progress(done, total)

    return tell
