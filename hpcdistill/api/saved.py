"""Distilled sets in the `.npz` files that `DistilledSet.save` and `hpcdistill export` write: they need nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hpcdistill.config import parse_stored
from hpcdistill.data.readers.npz import read_npz
from hpcdistill.errors import DataError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.preprocess_file import StoredZca, matrix_hash

#: Arrays of the file, by their names in a checkpoint. `display_range` is younger than the others.
_ARRAYS = {
    "support/images": "images_preprocessed", "support/images_display": "images", "support/labels": "labels",
    "support/source_index": "source_index", "preprocess/mean": "mean", "preprocess/std": "std",
    "preprocess/display_range": "display_range",
}  # fmt: skip
_OTHERS = ("config", "class_names", "step")


def read_saved(path: Path) -> tuple[Checkpoint, StoredZca | None] | None:
    """Return what a checkpoint would hold, and the ZCA matrix; None for a file of somebody else, or of long ago.

    Raises:
        DataError: it cannot be read.
    """
    wanted = {*_ARRAYS.values(), *_OTHERS}
    found = read_npz(path, lambda names: names if wanted <= set(names) else [])
    if not found:
        return None
    arrays = {name: found[key] for name, key in _ARRAYS.items()}
    arrays |= {f"history/{key.removeprefix('history_')}": a for key, a in found.items() if key.startswith("history_")}
    try:
        config, step = str(found["config"]), int(found["step"])
        settings = parse_stored(config, where=str(path))
        zca = None
        if "zca_matrix" in found:
            zca = StoredZca(found["zca_matrix"], float(found["zca_reg"]), float(found["zca_display_norm"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"{path}: is damaged ({' '.join(str(error).split())}).") from None
    attributes = {
        "config": config,
        "class_names": "\n".join(map(str, found["class_names"])),
        "architecture": settings.kernel.architecture,
        "method": settings.method,
        "dataset": settings.data.name,
        "step": step,
        "zca_sha256": matrix_hash(np.asarray(zca.matrix)) if zca else "",
    }
    return Checkpoint(arrays, attributes, str(path)), zca
