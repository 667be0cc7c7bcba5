"""What KIP starts from: natural images, noise, or a file; and the pixels that stay noise. Called on one rank."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.config import Config
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.sampling import draw_support, noise_generator
from hpcdistill.data.units import check_units
from hpcdistill.errors import ConfigError
from hpcdistill.io.checkpoint import read_checkpoint
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.origin import stored_standardisation
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
    if path.suffix not in (".h5", ".hdf5", ".npz"):
        raise ConfigError(f"support.init is {str(path)!r}. Valid: natural, noise, or the name of a .h5 or .npz file.")
    x_s, y_s = (_from_images if path.suffix == ".npz" else _from_checkpoint)(experiment, path)
    if x_s.shape != shape or y_s.shape != (shape[0], experiment.dataset.n_classes):
        raise ConfigError(
            f"support.init: {path} has images {x_s.shape} and labels {y_s.shape}, but this run needs {shape} and "
            f"{(shape[0], experiment.dataset.n_classes)}. Set support.images_per_class, or use another file."
        )
    return x_s, y_s


def _from_checkpoint(experiment: Experiment, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the support of an earlier run, which must have preprocessed its images in the same way."""
    checkpoint = read_checkpoint(path)
    theirs, mine = stored_config(checkpoint).preprocess, experiment.config.preprocess
    fitted, here = stored_standardisation(checkpoint).arrays(), experiment.preprocessing.arrays()
    if theirs != mine or not all(_same_figures(fitted[name], here[name]) for name in ("mean", "std")):
        raise ConfigError(
            f"support.init: {path} was made from {checkpoint.attribute('dataset')} with {theirs}, but this run has "
            f"{experiment.dataset.name} with {mine}, or other training images: its images would mean something else. "
            "Use a checkpoint made with the same data."
        )
    return checkpoint.images("support/images"), checkpoint.array("support/labels")


def _same_figures(one: np.ndarray, other: np.ndarray) -> bool:
    """Return whether two fits are the same but for rounding, which depends on the number of ranks."""
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=0.0)


def _from_images(experiment: Experiment, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return raw images with integer labels, as in a file of one's own data."""
    split = load_dataset(str(path), None).train
    shape, largest = split.images.shape[1:], split.labels.max()
    wanted, n_classes = experiment.dataset.image_shape, experiment.dataset.n_classes
    if shape != wanted or largest >= n_classes:
        raise ConfigError(
            f"support.init: {path} has images {shape} with labels up to {largest}, but the data set has {wanted} and "
            f"{n_classes} classes. Use a file that fits."
        )
    preprocessing = experiment.preprocessing
    check_units(preprocessing.standardisation, split.images, f"support.init: the images in {path}")
    return preprocessing.apply(split.images), experiment.labels(split.labels)
