"""How far a run is, from what it has saved."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.config import parse_stored
from hpcdistill.errors import HpcDistillError
from hpcdistill.io.checkpoint import Checkpoint, read_checkpoint
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.method import described


@dataclass(frozen=True)
class RunProgress:
    """Figures of a run's newest checkpoint, as texts; "–" where there is none.

    Attributes:
        step: with the number of steps where that is known: "40/300".
        loss, accuracy: the latest that were measured; accuracy on test (else validation) images.
        seconds: spent computing.
    """

    step: str = "–"
    loss: str = "–"
    accuracy: str = "–"
    seconds: str = "–"


def why_unreadable() -> str:
    """Return why progress cannot be read on this machine, "" where it can."""
    try:
        import h5py  # noqa: F401 - a parallel one wants MPI's library, which its module may have to bring
    except ImportError as error:
        return f"progress cannot be read here: {error}. Load the modules that hpcdistill was installed with."
    return ""


def read_progress(output: Path) -> RunProgress:
    """Return how far the run in a folder is. A folder that cannot be read says nothing."""
    try:
        checkpoint = read_checkpoint(RunDirectory(output).latest, "history", apart=False)
        return _progress(checkpoint)
    except (HpcDistillError, ImportError, KeyError, ValueError):
        return RunProgress()


def _progress(checkpoint: Checkpoint) -> RunProgress:
    config, history = parse_stored(checkpoint.attribute("config")), checkpoint.history()
    method = described(config.method)
    done, total = checkpoint.attribute("step") + method.is_sample, method.steps(config)  # draws are numbered from 0
    accuracy = _last(history["test_accuracy"])
    if accuracy is None:
        accuracy = _last(history["validation_accuracy"])
    if method.is_sample and accuracy is not None:
        accuracy = float(np.nanmean(history["test_accuracy"]))
    loss, seconds = _last(history["loss"]), _last(history["seconds"])
    return RunProgress(
        step=f"{done}/{total}" if total else str(done),
        loss="–" if loss is None else f"{loss:.5f}",
        accuracy="–" if accuracy is None else f"{accuracy:.2%}",
        seconds="–" if seconds is None else f"{seconds:.1f}",
    )


def _last(column: np.ndarray) -> float | None:
    measured = column[np.isfinite(column)]
    return float(measured[-1]) if len(measured) else None
