"""What a distilled set is worth: its predictions with one kernel or another, beside those of natural images.

Every function is collective. What has been measured is kept in `OUTPUT/evaluations` as it comes.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import numpy as np

from hpcdistill.backend import AUTO, BACKENDS
from hpcdistill.config import Config, parse_stored
from hpcdistill.data.memory import check_memory
from hpcdistill.data.sampling import draw_support
from hpcdistill.errors import ConfigError, DataError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.evaluation_records import read_evaluation, write_evaluation
from hpcdistill.io.run_directory import RunDirectory
from hpcdistill.learning.tally import Tally
from hpcdistill.method import Method
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, agree_any, on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.accuracies import Accuracies
from hpcdistill.run.evaluation_record import new_record
from hpcdistill.run.experiment import Experiment, choose_kernels, load_experiment
from hpcdistill.run.origin import Origin, other_splits
from hpcdistill.run.preprocessing import check_zca
from hpcdistill.run.recorder import stored_config


class _Measuring(Method):
    """What is done where a set is only measured: no limit of the method that made it applies."""

    needs_test = True


def for_evaluation(config: Config) -> Config:
    """Return the configuration of a run in which only the support's kernel matters."""
    few = min(1, config.support.images_per_class)  # 0 has settings of its own
    support = dataclasses.replace(config.support, images_per_class=few, init="natural", corruption=0.0)
    return dataclasses.replace(config, support=support)


def stored_for_evaluation(comm: MPI.Intracomm, checkpoint: Checkpoint, settings: list[str], where: str) -> Config:
    """Return the configuration that a checkpoint's set is evaluated with, as settings change it. Collective."""
    text = checkpoint.attribute("config")
    here = on_root(comm, lambda: settings_here(text, settings, where))
    return for_evaluation(parse_stored(text, here, where))


def settings_here(text: str, settings: list[str], where: str) -> list[str]:
    """Return the settings by which a set that was made with a configuration is evaluated here. Not collective.

    A data folder that is not there, as where the set comes from another machine, is this one's own instead.
    """
    if "data.root" in {setting.partition("=")[0].strip() for setting in settings}:
        return settings
    root = parse_stored(text, where=where).data.root
    return [*settings, "data.root="] if root and not os.path.isdir(root) else settings


def load_evaluation(
    comm: MPI.Intracomm, config: Config, checkpoint: Checkpoint, directory: RunDirectory, reporter: Reporter
) -> Experiment:
    """Return what a distilled set is tested with, preprocessed as it was.

    Args:
        config: from `for_evaluation`.
        directory: of the checkpoint's run.

    Raises:
        DataError, ConfigError, CheckpointError: on every rank.
    """
    with agree(comm):
        _check_preprocess(config, checkpoint)
        _check_place(config, checkpoint)
    config = _with_usable_backend(comm, config, checkpoint, reporter)
    origin = Origin(checkpoint, directory.preprocess, same_data=False)
    experiment = load_experiment(comm, config, reporter, origin, method=_Measuring())
    if others := other_splits(checkpoint, experiment.dataset):
        reporter.say(f"{experiment.dataset.name} has other {' and '.join(others)} images than the run that made "
                     f"{checkpoint.where} ({checkpoint.attribute('dataset')})")  # fmt: skip
    on_root(comm, lambda: check_zca(experiment.preprocessing, checkpoint, directory.preprocess, reporter.say))
    return experiment


def _with_usable_backend(comm: MPI.Intracomm, config: Config, checkpoint: Checkpoint, reporter: Reporter) -> Config:
    """Return a configuration without the backend that a set was made with, where that cannot be used on every rank.

    One that was asked for stays, and so does one of another package: it may compute something else.
    """
    backend = config.kernel.backend
    if backend not in BACKENDS or backend != stored_config(checkpoint).kernel.backend:
        return config
    try:
        choose_kernels(config, checkpoint.images("support/images").shape[1:])
        usable = True
    except ConfigError:
        usable = False
    if not agree_any(comm, not usable):
        return config
    reporter.say(f"kernel.backend {backend!r}, which the set was made with, cannot be used here: {AUTO} in its place")
    return dataclasses.replace(config, kernel=dataclasses.replace(config.kernel, backend=AUTO))


def _check_place(config: Config, checkpoint: Checkpoint) -> None:
    """Raise `DataError` if the data that a set was made with are no longer where they were."""
    name = config.data.name
    if name == stored_config(checkpoint).data.name and os.path.isabs(name) and not os.path.exists(name):
        raise DataError(
            f"{name}: no such file or folder. {checkpoint.where} was made with it. If it has moved, say where it is "
            "with --set data.name=PATH."
        )


def _check_preprocess(config: Config, checkpoint: Checkpoint) -> None:
    stored = stored_config(checkpoint).preprocess
    if config.preprocess != stored:
        raise ConfigError(
            f"{checkpoint.where}: its images are preprocessed with {stored}, which --set cannot change to "
            f"{config.preprocess}. Leave preprocess.* as it is."
        )


def with_kernel(experiment: Experiment, architecture: str, checkpoint: Checkpoint) -> Experiment:
    """Return the same experiment with another network's kernel; `checkpoint` has the set."""
    config, shape = experiment.config.with_architecture(architecture), experiment.dataset.image_shape
    config = _with_usable_backend(experiment.comm, config, checkpoint, experiment.reporter)
    with agree(experiment.comm):
        kernels = choose_kernels(config, shape, experiment.reporter.say)
    return dataclasses.replace(experiment, config=config, kernels=kernels)


def keep_distilled(
    experiment: Experiment, x_s: np.ndarray, y_s: np.ndarray, step: int, folder: Path, tally: Tally
) -> None:
    """Keep how well a distilled set predicts the test images in the run's folder.

    Args:
        step: of its checkpoint.
        tally: from `measure_support`.

    Raises:
        StorageError: it cannot be written.
    """
    figures = {
        "step": step,
        "accuracy": tally.accuracy,
        "loss": tally.loss,
        "per_class": [None if np.isnan(a) else float(a) for a in tally.class_accuracy],
        "confusion": tally.confusion.tolist(),
    }
    record = new_record(experiment, "distilled", (x_s, y_s), images=len(x_s)) | figures
    on_root(experiment.comm, lambda: write_evaluation(folder, record))


def measure_support(experiment: Experiment, x_s: np.ndarray, y_s: np.ndarray) -> Tally:
    """Return how well a support of preprocessed images predicts the test images.

    Raises:
        DataError: the data set has no test split.
    """
    targets = experiment.needed_test_targets()
    regression = experiment.regression_on(x_s)
    try:
        return regression.evaluate(y_s, targets)
    finally:
        regression.close()


def parse_sizes(experiment: Experiment, text: str | None, per_class: int) -> list[int]:
    """Return the numbers of images per class that `--natural 1,10,all` asks for, none without it; 0 stands for all.

    Args:
        per_class: number of images per class that the multiples are of.

    Raises:
        ConfigError: no list of multiples; more images than a class has; more than fit memory.
    """
    sizes, smallest = [], experiment.pool.smallest_class
    for word in [] if text is None else text.split(","):
        if word.strip() != "all" and not (word.strip().isdigit() and int(word) > 0):
            raise ConfigError(f"--natural {text!r} must list multiples of the support's size, such as 1,10,100,all.")
        sizes.append(0 if word.strip() == "all" else int(word) * per_class)
        if sizes[-1] > smallest:
            raise ConfigError(f"--natural {word}: {sizes[-1]} images per class, but a class has {smallest}. Use all.")
        n = sizes[-1] * experiment.dataset.n_classes or len(experiment.pool)
        check_memory(16 * n**2, f"--natural {word}: the kernel of {n} images", "Use fewer.")
    return list(dict.fromkeys(sizes))


def measure_natural(experiment: Experiment, per_class: int, draws: int, folder: Path) -> Accuracies:
    """Return how well random natural images, `per_class` of each class, predict the test images.

    Args:
        per_class: 0 means all training images, of which there is one draw only.
        folder: the run's, where accuracies of draws are kept as they come, and looked up.
    """
    config, pool, comm = experiment.config, experiment.pool, experiment.comm
    n_images = per_class * experiment.dataset.n_classes or len(pool)
    record = new_record(experiment, "natural", images=n_images)
    kept = on_root(comm, lambda: read_evaluation(folder, "natural", record["key"]))
    accuracies = list(kept["accuracies"]) if kept else []
    draws = draws if per_class else 1
    title = f"draw of {n_images} natural images"
    experiment.reporter.advance(title, len(accuracies), draws)
    for draw in range(len(accuracies), draws):
        source = draw_support(pool, per_class, config.seed, draw) if per_class else pool.indices
        accuracies.append(measure_support(experiment, *experiment.natural_support(source)).accuracy)
        experiment.reporter.advance(title, draw + 1, draws, f"test {accuracies[-1]:.2%}")
        on_root(comm, lambda: write_evaluation(folder, record | {"accuracies": accuracies}))
    return Accuracies(n_images, tuple(accuracies[:draws]))
