"""What KIP starts from: natural images, noise, or a file; and the pixels that stay noise. Called on one rank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from hpcdistill.config import Config
from hpcdistill.data.readers.distilled import ForeignSet, read_distilled
from hpcdistill.data.registry import is_foreign_set
from hpcdistill.data.sampling import draw_support, noise_generator
from hpcdistill.data.units import UNITS_SAMPLE, check_units
from hpcdistill.errors import ConfigError
from hpcdistill.io.checkpoint import read_checkpoint
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.origin import stored_standardisation
from hpcdistill.run.reading import reading_of
from hpcdistill.run.recorder import stored_config


@dataclass(frozen=True)
class InitialSupport:
    """A support before the first step.

    Attributes:
        x_s, y_s: preprocessed images `(n, h, w, c)` and labels `(n, classes)`, float64.
        source_index: the training images that it was drawn as, int64 `(n,)`; -1 for images that are none.
    """

    x_s: np.ndarray
    y_s: np.ndarray
    source_index: np.ndarray


def make_initial_support(experiment: Experiment) -> InitialSupport:
    """Return what `support.init` and `support.corruption` ask for.

    Noise is Gaussian, independent for each pixel and channel, as large as the pixels of preprocessed natural images.

    Raises:
        ConfigError: the file is not there, or does not fit the data set or `support.images_per_class`.
        DataError, CheckpointError: it is no data set, or no checkpoint.
    """
    config, pool = experiment.config, experiment.pool
    per_class, n_classes = config.support.images_per_class, len(pool.by_class)
    shape = (per_class * n_classes, *experiment.dataset.image_shape)
    natural = draw_support(pool, min(per_class, pool.smallest_class), config.seed)
    x_s, y_s = experiment.natural_support(natural)
    noise = noise_of(config, shape) * np.sqrt(np.square(x_s).mean())
    source = np.full(shape[0], -1, np.int64)
    if config.support.init == "natural":
        source = natural
    elif config.support.init == "noise":
        x_s, y_s = noise, experiment.labels(np.repeat(np.arange(n_classes), per_class))
    else:
        x_s, y_s = _from_file(experiment, shape)
    return InitialSupport(np.where(noise_mask(config, shape), noise, x_s), y_s, source)


def noise_mask(config: Config, shape: tuple[int, ...]) -> np.ndarray:
    """Return which pixels of images `(n, h, w, c)` stay noise, bool: of each image the same number, at random.

    Source: ρ-corruption, arXiv:2011.00050, section on privacy-preserving distillation.
    """
    n, features = shape[0], int(np.prod(shape[1:]))
    ranks = noise_generator(config.seed).random((n, features)).argsort(axis=1).argsort(axis=1)
    return (ranks < round(config.support.corruption * features)).reshape(shape)


def noise_of(config: Config, shape: tuple[int, ...]) -> np.ndarray:
    """Return standard normal noise, the same whatever part of it is used."""
    rng = noise_generator(config.seed)
    rng.random((shape[0], int(np.prod(shape[1:]))))  # what the mask has drawn
    return rng.standard_normal(shape)


def _from_file(experiment: Experiment, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    path = Path(experiment.config.support.init)
    x_s, y_s = support_from_file(experiment, path, experiment.reporter.say)
    if x_s.shape != shape or y_s.shape != (shape[0], experiment.dataset.n_classes):
        raise ConfigError(
            f"support.init: {path} has images {x_s.shape} and labels {y_s.shape}, but this run needs {shape} and "
            f"{(shape[0], experiment.dataset.n_classes)}. Set support.images_per_class, or use another file."
        )
    return x_s, y_s


def support_from_file(experiment: Experiment, path: Path, say: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return the preprocessed images and the labels of a distilled set, float64, for this data set and preprocessing.

    Args:
        say: is told what was taken for granted.

    Raises:
        ConfigError, DataError, CheckpointError: as `make_initial_support`.
    """
    if path.suffix.lower() in (".h5", ".hdf5"):
        return _from_checkpoint(experiment, path)
    if is_foreign_set(path):
        return _from_distilled(experiment, path, say)
    raise ConfigError(
        f"support.init is {str(path)!r}. Valid: natural, noise, or the name of a .h5, .npz or .pt file or a folder."
    )


def _from_checkpoint(experiment: Experiment, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the support of an earlier run, which must have preprocessed its images in the same way."""
    checkpoint = read_checkpoint(path)
    theirs, mine = stored_config(checkpoint).preprocess, experiment.config.preprocess
    standardisation = stored_standardisation(checkpoint)
    if theirs != mine or not _fits(experiment, standardisation.mean, standardisation.std):
        other = "preprocess.zca or preprocess.zca_reg" if theirs != mine else "training images"
        raise ConfigError(
            f"support.init: {path} was made from {checkpoint.attribute('dataset')} with other {other} than this "
            f"run's on {experiment.dataset.name}: its images would mean something else. Use one made with the same."
        )
    return checkpoint.images("support/images"), checkpoint.array("support/labels")


def _fits(experiment: Experiment, mean: np.ndarray, std: np.ndarray) -> bool:
    """Return whether a fit is this run's but for rounding: to float32 in a file of tensors, and by the ranks' order."""
    here, rtol = experiment.preprocessing.standardisation, 1e-5 if mean.dtype == np.float32 else 1e-9
    return all(one.shape == other.shape and np.allclose(one, other, rtol=rtol, atol=0.0)
               for one, other in ((mean, here.mean), (std, here.std)))  # fmt: skip


def _from_distilled(experiment: Experiment, path: Path, say: Callable[[str], None]) -> tuple[np.ndarray, np.ndarray]:
    """Return somebody's distilled set as this run's kernels see it."""
    settings, dataset = experiment.config.support, experiment.dataset
    reading = reading_of(experiment.config)
    found = read_distilled(path, dataset.class_names, settings.images, settings.labels, reading)
    for note in found.notes:
        say(note)
    if path.is_dir() and found.images.shape[3] == 1 and dataset.image_shape[2] == 3:  # pictures that all look grey
        found = replace(found, images=np.repeat(found.images, 3, axis=3))
    if found.images.shape[1:] != dataset.image_shape:
        raise ConfigError(
            f"{path} has images {found.images.shape[1:]}, but the data set has {dataset.image_shape}. "
            "Use a file that fits."
        )
    if found.fitted and not _fits(experiment, *found.fitted):
        raise ConfigError(
            f"the images in {path} were preprocessed with other means and standard deviations than this "
            "run's, so they would mean something else. Use the same data and preprocess.*, or support.images=images."
        )
    y_s = experiment.labels(found.labels) if found.labels.ndim == 1 else found.labels
    absent = np.setdiff1d(np.arange(dataset.n_classes), y_s.argmax(axis=1))
    if len(absent):
        say(f"{path}: has no image of {', '.join(dataset.class_names[k] for k in absent)}")
    if _is_preprocessed(experiment, found, path, say):
        return found.images.astype(np.float64), y_s
    check_units(experiment.preprocessing.standardisation, found.images, f"the images in {path}")
    return experiment.preprocessing.apply(found.images), y_s


def _is_preprocessed(experiment: Experiment, found: ForeignSet, path: Path, say: Callable[[str], None]) -> bool:
    """Tell whether images are as kernels see them. Else they are as in the data set, which integers always are.

    Without a word of the user, floats are told by their range: raw ones lie within a tenth of that of the data set,
    preprocessed ones are on both sides of 0, and as large as its images are when they are preprocessed.
    """
    space, images = experiment.config.support.space, found.images
    if space == "preprocessed" and images.dtype.kind != "f":
        raise ConfigError(f"support.space=preprocessed, but the images in {path} are {images.dtype}: these are raw.")
    if space != "auto":
        return space == "preprocessed"
    if found.preprocessed is not None or images.dtype.kind != "f":
        return bool(found.preprocessed)
    natural = experiment.dataset.train.images[:UNITS_SAMPLE]
    low, high, some = float(natural.min()), float(natural.max()), experiment.preprocessing.apply(natural)
    least, most, margin = float(images.min()), float(images.max()), (high - low) / 10
    as_raw = low - margin <= least and most <= high + margin and most - least > (high - low) / 16
    as_preprocessed = least < 0 and 1 / 4 < np.sqrt(np.square(images).mean() / np.square(some).mean()) < 4
    if as_raw and as_preprocessed:
        raise ConfigError(
            f"are the images in {path}, {least:.3g}…{most:.3g}, as in the data set, or preprocessed? Say "
            "so with support.space=raw or support.space=preprocessed."
        )
    if as_preprocessed:
        say(f"{path}: images of {least:.3g}…{most:.3g} are taken to be preprocessed (else say support.space=raw)")
    return bool(as_preprocessed)
