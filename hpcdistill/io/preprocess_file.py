"""`OUTPUT/preprocess.h5`: a run's ZCA matrix, kept once for all of its checkpoints, which name it by its hash.

    /zca/matrix (d,d) float64     attributes: sha256 (of the matrix), zca_reg, display_norm, complete

Not collective.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.hdf5.apart import read_apart
from hpcdistill.hdf5.new_file import whole_hdf5
from hpcdistill.io.checkpoint import Checkpoint


@dataclass(frozen=True)
class StoredZca:
    """What the file holds: `matrix` `(d, d)` float64 and two numbers of the transformation."""

    matrix: np.ndarray
    reg: float
    display_norm: float


def matrix_hash(matrix: np.ndarray) -> str:
    """Return the SHA-256 of a matrix's bytes, row by row."""
    return hashlib.sha256(np.ascontiguousarray(matrix).tobytes()).hexdigest()


def write_zca(path: Path, stored: StoredZca) -> None:
    """Write the file so that it is complete or absent.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        with whole_hdf5(path) as made:
            file = made.file
            file.create_dataset("zca/matrix", data=stored.matrix)
            file.attrs.update(sha256=matrix_hash(stored.matrix), zca_reg=stored.reg, display_norm=stored.display_norm)
            file.attrs["complete"] = True
    except OSError as error:
        raise StorageError(
            f"{path}: cannot be written ({error.strerror or error}). Free some space, then start the same command "
            "again; a run continues with --resume."
        ) from error


def zca_of(checkpoint: Checkpoint, path: Path) -> StoredZca | None:
    """Return the ZCA matrix that a checkpoint's images were made with, None where there was none.

    Args:
        path: where its run keeps it.

    Raises:
        CheckpointError: missing, damaged, or another matrix.
    """
    sha256 = checkpoint.attributes.get("zca_sha256")
    return read_zca(path, sha256) if sha256 else None


def read_zca(path: Path, sha256: str = "") -> StoredZca:
    """Return what `write_zca` wrote.

    Args:
        sha256: the hash that a checkpoint names; "" where any matrix will do.

    Raises:
        CheckpointError: missing, damaged, or another matrix.
    """
    try:
        content = read_apart(path, ["zca/matrix"])
        matrix, attributes = content.arrays["zca/matrix"], content.attributes
        stored = StoredZca(matrix, float(attributes["zca_reg"]), float(attributes["display_norm"]))
        intact = bool(attributes["complete"]) and matrix_hash(matrix) == attributes["sha256"]
    except FileNotFoundError:
        raise CheckpointError(
            f"{path}: no such file. It holds the ZCA matrix of this run's checkpoints: put it back beside them."
        ) from None
    except (OSError, KeyError, ValueError, TypeError, MemoryError) as error:
        raise CheckpointError(f"{path}: cannot be read as a ZCA matrix ({str(error).splitlines()[0]}).") from error
    if not intact or (sha256 and attributes["sha256"] != sha256):
        raise CheckpointError(
            f"{path}: is damaged, or not the ZCA matrix that the checkpoints beside it were made with. Restore it, or "
            "start anew in another folder with --output."
        )
    return stored
