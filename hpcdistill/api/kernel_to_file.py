"""`NeuralKernel.to_hdf5`: the kernel of arrays of images, computed tile by tile into a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpcdistill.digest import sha256_of
from hpcdistill.errors import InputError
from hpcdistill.io.kernel_file import KernelFile, check_same, compress, create
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
    on_root(comm, lambda: _begin(kernel, path, first, columns, tile))
    file, tell = KernelFile.open(path), kernel.progress or (lambda done, total: None)
    shape = first.shape[1], first.shape[2], first.shape[3]

    def of_rows(start: int, stop: int) -> np.ndarray:
        return first[start:stop]

    def of_columns(start: int, stop: int) -> np.ndarray:
        return columns[start:stop]

    images = Images(of_rows, of_rows if columns is first else of_columns, shape)
    fill(comm, file, images, kernel.backend_for(shape), lambda line: None, tell)
    if compressed and not file.is_compressed:
        on_root(comm, lambda: compress(file))


def _begin(kernel: NeuralKernel, path: Path, first: np.ndarray, columns: np.ndarray, tile: int) -> None:
    """Make the file, or see to it that the one that is there is of the same."""
    shape, dtype = (len(first), len(columns)), np.dtype(kernel.dtype)
    if 0 in shape:
        raise InputError(f"A kernel of {shape[0]} by {shape[1]} images has no tiles.")
    attributes = {
        "network": kernel.network, "kind": kernel.kind, "w_std": kernel.w_std, "b_std": kernel.b_std,
        "rows_sha256": sha256_of(first), "columns_sha256": sha256_of(columns),
    }  # fmt: skip
    if not path.exists():
        create(path, shape, dtype, tile, is_symmetric=columns is first, attributes=attributes, arrays={})
    file = KernelFile.open(path)
    wanted = attributes | {"shape": shape, "dtype": str(dtype), "tile": tile}
    there = dict(file.attributes) | {"shape": file.shape, "dtype": str(file.dtype), "tile": file.tile}
    check_same(path, there, wanted, "Give another path.")
