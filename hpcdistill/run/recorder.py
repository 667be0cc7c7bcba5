"""Turning a run's state into checkpoints, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

import hpcdistill
from hpcdistill.config import Config, adjusted_keys, parse_stored, why_not_resumed
from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import SCHEMA_VERSION, Checkpoint
from hpcdistill.io.exchanged import ATTRIBUTE, Exchanged
from hpcdistill.mpi.collectives import bcast_object, on_root
from hpcdistill.run.driver import Snapshot
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.origin import data_attributes
from hpcdistill.run.preprocessing import preprocessing_hash
from hpcdistill.run.store import Store


class Recorder:
    """Makes the checkpoints of one run. Every method is collective.

    Args:
        store: where they are kept.
        changes: what its settings were before, as `noted_changes` has it.
        exchanged: returns what the ranks have said to each other up to a step, as this rank counts it.
    """

    def __init__(
        self,
        experiment: Experiment,
        store: Store,
        changes: str = "",
        exchanged: Callable[[int], Exchanged] | None = None,
    ) -> None:
        self.experiment, self._store, self._changes, self._exchanged = experiment, store, changes, exchanged
        self._commit = on_root(experiment.comm, git_commit)
        self._zca_sha256 = on_root(experiment.comm, lambda: preprocessing_hash(experiment.preprocessing))

    def save(self, snapshot: Snapshot) -> None:
        """Keep the checkpoint of a step."""
        self._store.save(self.experiment.comm, snapshot.step, self._pack(snapshot))

    def save_best(self, snapshot: Snapshot) -> None:
        """Keep the support with the best validation accuracy so far."""
        self._store.save_best(self.experiment.comm, self._pack(replace(snapshot, arrays={})))

    def _pack(self, snapshot: Snapshot) -> Checkpoint:
        experiment, config = self.experiment, self.experiment.config
        arrays = {
            "support/images": snapshot.images,
            "support/labels": snapshot.labels,
            "support/source_index": snapshot.source_index,
            "support/images_display": experiment.display(snapshot.images),
            "support/initial_display": snapshot.initial_display,
            "random/seed": np.array([config.seed]),
            "random/step": np.array([snapshot.step]),
        }
        arrays |= {f"preprocess/{name}": array for name, array in experiment.preprocessing.arrays().items()}
        arrays |= {f"history/{name}": column for name, column in snapshot.history.to_arrays().items()}
        attributes = {
            "schema_version": SCHEMA_VERSION,
            "hpcdistill_version": hpcdistill.__version__,
            "git_commit": self._commit,
            "config": config.to_toml(),
            "method": config.method,
            "dataset": experiment.dataset.name,
            **data_attributes(experiment.dataset),
            "class_names": "\n".join(experiment.dataset.class_names),
            "architecture": config.kernel.architecture,
            "step": snapshot.step,
            "zca_sha256": self._zca_sha256,
            "changes": self._changes,
        }
        if self._exchanged is not None:
            text = self._exchanged(snapshot.step).to_attribute()
            attributes[ATTRIBUTE] = bcast_object(experiment.comm, text)
        return Checkpoint(arrays | snapshot.arrays, attributes)


def stored_config(checkpoint: Checkpoint) -> Config:
    """Return the configuration that a checkpoint was made with."""
    return parse_stored(checkpoint.attribute("config"))


def noted_changes(checkpoint: Checkpoint | None, config: Config) -> str:
    """Return what a run's settings were before, a line for each change and the step from which it counts."""
    if checkpoint is None:
        return ""
    step = checkpoint.attribute("step")
    new = [f"step {step}: {change}" for change in adjusted_keys(stored_config(checkpoint), config)]
    return "\n".join([*filter(None, [checkpoint.attributes.get("changes", "")]), *new])


def check_same_run(checkpoint: Checkpoint, config: Config, where: str) -> None:
    """Raise `CheckpointError` if a checkpoint's run cannot go on with `config`."""
    if why := why_not_resumed(stored_config(checkpoint), config):
        raise CheckpointError(f"{where}: {why}")


def git_commit() -> str:
    """Return the commit of the checkout this package runs from, or "unknown" where it is installed without one."""
    git = Path(hpcdistill.__file__).parents[1] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        if (git / reference).exists():
            return (git / reference).read_text().strip()
        packed = (git / "packed-refs").read_text().splitlines()
        return next((line.split()[0] for line in packed if line.endswith(reference)), "unknown")
    except OSError:
        return "unknown"
