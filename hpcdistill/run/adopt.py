"""Distilled sets of others, made checkpoints of, so that everything that takes a checkpoint takes them, too."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hpcdistill.backend import usable_anywhere
from hpcdistill.config import Config, parse_config, parse_stored
from hpcdistill.data.readers.distilled import stored_settings
from hpcdistill.data.readers.locate import data_root
from hpcdistill.data.registry import is_foreign_set
from hpcdistill.errors import CheckpointError, ConfigError, DataError, EnvironmentSetupError
from hpcdistill.io.checkpoint import SCHEMA_VERSION, read_checkpoint
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.learning.history import History
from hpcdistill.method import DEFAULT, Method
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.driver import Snapshot
from hpcdistill.run.evaluate import for_evaluation, settings_here
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.initial_support import support_from_file
from hpcdistill.run.preprocessing import keep_preprocessing
from hpcdistill.run.recorder import Recorder
from hpcdistill.run.store import FolderStore
from hpcdistill.schema import apply_setting

#: What was taken for granted of a set, beside its checkpoint.
NOTES = "notes.txt"


def adopt(comm: MPI.Intracomm, file: Path, settings: list[str]) -> Path:
    """Return a checkpoint of a distilled set: the file itself where it is one, else one that is made of it. Collective.

    It is kept in the data folder, in `sets/`, and found there again by content and settings.

    Args:
        file: a checkpoint; an `.npz` or `.pt` file, or a folder of pictures, of somebody else.
        settings: `section.key=value` for what such a file cannot say: data set, preprocessing, network, space.

    Raises:
        ConfigError: on every rank; the settings leave the data set open, or do not fit the file.
        DataError: on every rank; the file cannot be read.
    """
    if not is_foreign_set(file):
        return file
    own = on_root(comm, lambda: _own_settings(file))
    here = on_root(comm, lambda: settings_here(own, settings, str(file)))
    with agree(comm):
        config = _config(file, own, here)
    directory = on_root(comm, lambda: RunDirectory(_folder(file, config)))
    with Reporter(comm.Get_rank() == 0) as reporter:
        if notes := on_root(comm, lambda: _notes_of_kept(directory)):
            reporter.say("\n".join(notes))
            return directory.latest
        notes = []
        experiment = load_experiment(comm, config, reporter, method=Method())
        x_s, y_s = on_root(comm, lambda: support_from_file(experiment, file, notes.append))
        per_class = max(1, len(x_s) // experiment.dataset.n_classes)
        support = replace(config.support, images_per_class=per_class)
        experiment = replace(experiment, config=replace(config, support=support))
        on_root(comm, lambda: _prepare(directory))
        keep_preprocessing(comm, experiment.preprocessing, directory.preprocess, resumed=False)
        history = History()
        history.add(0)
        source = np.full(len(x_s), -1, np.int64)
        store = FolderStore(directory, 1, paper_steps=False)
        Recorder(experiment, store).save(Snapshot(0, x_s, y_s, history, source, experiment.display(x_s)))
        notes.append(f"{file}: its checkpoint is {directory.latest}")
        on_root(comm, lambda: (directory.path / NOTES).write_text("\n".join(notes)))
        reporter.say("\n".join(notes))
    return directory.latest


def adopt_here(file: Path, settings: list[str]) -> Path:
    """Do the same on this process alone. Not collective."""
    return adopt(MPI.COMM_SELF, file, settings)


def _notes_of_kept(directory: RunDirectory) -> list[str]:
    """Return what was said when a checkpoint was made that is there, and whole; nothing where it is to be made."""
    try:
        read_checkpoint(directory.latest, "history")
        return (directory.path / NOTES).read_text().splitlines()
    except (CheckpointError, OSError):
        return []


def _prepare(directory: RunDirectory) -> None:
    try:
        directory.prepare(resume=True)
    except EnvironmentSetupError as error:
        raise EnvironmentSetupError(
            f"{directory.path}: cannot be written to ({error.__cause__}); checkpoints of the sets of others are kept "
            "there. Set HPCDISTILL_DATA to a folder that can."
        ) from None


def _own_settings(file: Path) -> str:
    """Return what a set's file says of its configuration, as our own exports do; "" where it says nothing."""
    if not file.exists():
        raise DataError(f"{file}: no such file.")
    return stored_settings(file)


def _config(file: Path, own: str, settings: list[str]) -> Config:
    """Return the configuration that a set is used with: its own, if it says one, and the settings."""
    said: dict[str, Any] = {}
    for setting in settings:
        apply_setting(said, setting)
    if not own and "name" not in said.get("data", {}):
        raise ConfigError(
            f"{file}: does not say which images it was distilled from. Say so with --set data.name=NAME, and what is "
            "not the default with --set kernel.architecture=…, --set preprocess.zca=true, --set support.space=raw."
        )
    config = for_evaluation(parse_stored(own, settings, str(file)) if own else parse_config("", settings))
    kernel, support = config.kernel, replace(config.support, init=str(file.absolute()))
    if "backend" not in said.get("kernel", {}):
        kernel = replace(kernel, backend=usable_anywhere(kernel.backend))  # what it was made with may not be here
    return replace(config, method=DEFAULT, support=support, kernel=kernel)


def _folder(file: Path, config: Config) -> Path:
    """Return where its checkpoint is kept, by the content of the file and everything that is set."""
    digest = hashlib.sha256(f"{SCHEMA_VERSION}\n{config.to_toml()}".encode())
    data = Path(config.data.name)
    for part in [data] if data.is_file() else sorted(data.rglob("*")) if data.is_dir() else []:
        digest.update(f"{part} {part.stat().st_mtime_ns} {part.stat().st_size}".encode())
    for part in sorted(file.rglob("*")) if file.is_dir() else [file]:
        digest.update(str(part.relative_to(file)).encode())
        try:
            digest.update(part.read_bytes() if part.is_file() else b"")
        except OSError as error:
            raise DataError(f"{part}: cannot be read ({error.strerror}).") from None
    return data_root(None) / "sets" / f"{file.resolve().stem}-{digest.hexdigest()[:16]}"
