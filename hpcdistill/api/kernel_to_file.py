"""`NeuralKernel.to_hdf5`: the kernel of arrays of images, computed tile by tile into a file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hpcdistill.digest import sha256_of
from hpcdistill.errors import CheckpointError, InputError
from hpcdistill.io.kernel_file import KernelFile, compress, create
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import on_root
from hpcdistill.run.kernel_matrix import Images, fill

if TYPE_CHECKING:
    from hpcdistill.api.kernel import NeuralKernel


def kernel_to_file(
    kernel: NeuralKernel, path: Path, first: np.ndarray, second: np.ndarray | None, tile: int,
    comm: MPI.Intracomm | None, *, compressed: bool,
) -> None:  # fmt: skip
    """See `NeuralKernel.to_hdf5`; images are `(n, h, w, c)` of the kernel's dtype. Collective over `comm`."""
    comm = MPI.COMM_SELF if comm is None else comm
    if not isinstance(tile, int) or tile < 1:
        raise InputError(f"tile must be a number from 1, not {tile!r}.")
    columns = first if second is None else second
    on_root(comm, lambda: _begin(kernel, path, first, second, tile))
    file, tell = KernelFile.open(path), kernel.progress or (lambda done, total: None)
    shape = first.shape[1], first.shape[2], first.shape[3]

    def of_rows(start: int, stop: int) -> np.ndarray:
        return first[start:stop]

    def of_columns(start: int, stop: int) -> np.ndarray:
        return columns[start:stop]

    images = Images(of_rows, of_rows if second is None else of_columns, shape)
    fill(comm, file, images, kernel.backend_for(shape), lambda line: None, tell)
    if compressed and not file.is_compressed:
        on_root(comm, lambda: compress(file))


def _begin(kernel: NeuralKernel, path: Path, first: np.ndarray, second: np.ndarray | None, tile: int) -> None:
    """Make the file, or see to it that the one that is there is of the same."""
    attributes = {
        "network": kernel.network, "kind": kernel.kind, "w_std": kernel.w_std, "b_std": kernel.b_std,
        "rows_sha256": sha256_of(first), "columns_sha256": sha256_of(first if second is None else second),
    }  # fmt: skip
    shape, dtype = (len(first), len(first if second is None else second)), np.dtype(kernel.dtype)
    if 0 in shape:
        raise InputError(f"A kernel of {shape[0]} by {shape[1]} images has no tiles.")
    if not path.exists():
        create(path, shape, dtype, tile, is_symmetric=second is None, attributes=attributes, arrays={})
    file = KernelFile.open(path)
    wanted = attributes | {"shape": shape, "dtype": str(dtype), "tile": tile}
    there = dict(file.attributes) | {"shape": file.shape, "dtype": str(file.dtype), "tile": file.tile}
    if changed := _differences(there, wanted):
        raise CheckpointError(f"{path}: is another kernel ({changed}). Give another path.")


def _differences(there: Mapping[str, Any], wanted: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {there.get(name)!r} → {value!r}" for name, value in wanted.items()
                     if name not in there or there[name] != value)  # fmt: skip
