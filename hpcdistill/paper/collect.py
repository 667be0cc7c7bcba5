"""What runs here have reached of the papers' figures. Needs neither MPI nor JAX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.config import RESUMABLE_KEYS, Config, parse_stored
from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint, read_checkpoint
from hpcdistill.method import described
from hpcdistill.paper.cells import Cell
from hpcdistill.schema import flatten

#: Keys that say where and how a run is computed and saved, not what, besides those that a resumed run may change.
_IRRELEVANT = frozenset({"seed", "kip.evaluate_every"})


@dataclass(frozen=True)
class CellResult:
    """What the runs of one cell have reached.

    Attributes:
        accuracies: test accuracy in % of each run that has measured one.
        differences: how their configurations differ from the cell's: "kip.steps=300 (10000)", and how far they got.
    """

    cell: Cell
    accuracies: tuple[float, ...]
    differences: tuple[str, ...]

    @property
    def mean(self) -> float | None:
        """Mean over the runs, None without any."""
        return float(np.mean(self.accuracies)) if self.accuracies else None

    @property
    def spread(self) -> float | None:
        """Standard deviation over the runs, None for fewer than two."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else None


def cell_folder(folder: Path, cell: Cell) -> Path:
    """Return where the runs of a cell are: itself, or a folder for each point of a sweep in it."""
    return folder / cell.row.table / cell.name


def collect(folder: Path, cell: Cell) -> CellResult:
    """Return what the runs in the folder of a cell have reached.

    Raises:
        CheckpointError: a checkpoint is damaged, or of another method, data set or number of images.
    """
    accuracies, differences = [], []
    base = cell_folder(folder, cell)
    for path in sorted([*base.glob("latest.h5"), *base.glob("*/latest.h5")]):
        checkpoint = read_checkpoint(path, apart=False)
        config = parse_stored(checkpoint.attribute("config"), where=str(path))
        _check_belongs(path, config, cell)
        measured = checkpoint.history()["test_accuracy"]
        measured = measured[np.isfinite(measured)]
        if len(measured):
            accuracies.append(100 * float(measured[-1]))
            differences += _differences(cell, config, checkpoint)
    return CellResult(cell, tuple(accuracies), tuple(dict.fromkeys(differences)))


def _check_belongs(path: Path, config: Config, cell: Cell) -> None:
    keys = ("method", "data.name", "support.images_per_class", "kernel.architecture", "preprocess.zca")
    mine, wanted = flatten(config), flatten(cell.config())
    if wrong := [f"{key}={mine[key]!r} instead of {wanted[key]!r}" for key in keys if mine[key] != wanted[key]]:
        raise CheckpointError(f"{path}: is no run of {cell.row.table}/{cell.name}: {', '.join(wrong)}. Move it away.")


def _differences(cell: Cell, config: Config, checkpoint: Checkpoint) -> list[str]:
    mine, wanted = flatten(config), flatten(cell.config())
    irrelevant = _IRRELEVANT | RESUMABLE_KEYS | described(config.method).resumable
    found = [f"{key}={mine[key]} ({wanted[key]})" for key in wanted
             if key not in irrelevant and mine[key] != wanted[key]]  # fmt: skip
    step = checkpoint.attribute("step")
    if config.method == "kip" and step != wanted["kip.steps"]:
        found.append(f"{step} steps ({wanted['kip.steps']})")
    return found
