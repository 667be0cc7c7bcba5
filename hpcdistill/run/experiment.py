"""What every method starts from: data in shared memory, preprocessing, kernels — loaded and checked on all ranks."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from hpcdistill.config import Config
from hpcdistill.data.augment import Augmentation, Changes
from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.preprocess import Preprocessing, centred_one_hot
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.sampling import Pool, draw_batch, draw_kernel, draw_subset, hold_out, make_pool
from hpcdistill.errors import ConfigError, DataError
from hpcdistill.kernels.select import choose_backend
from hpcdistill.learning.assemble import Kernels, Targets
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.method import Method, find_method
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, bcast_object, node_communicator, on_root
from hpcdistill.mpi.shared import share_array
from hpcdistill.progress import Reporter
from hpcdistill.run.gpus import check_gpus
from hpcdistill.run.origin import Origin
from hpcdistill.run.preprocessing import load_preprocessing
from hpcdistill.run.reading import reading_of


@dataclass(frozen=True)
class Experiment:
    """Data, preprocessing and kernels of a run, the same on every rank.

    Attributes:
        pool: training images that may be drawn.
        validation, test: indices of the images held out of the training split, and of those of the test split that are
            used, ascending; `test` is None where the data set has no test split.
        preprocessing: fitted on the pool.
        kernels: of `kernel.architecture`.
        method: whose limits the data and the configuration fit.
        sampled: kernels that the method draws from, step by step; none where it uses `kernels` alone.
        whitened: all images of the splits "train" and "test" preprocessed, where they are kept (`run.whitened`).
    """

    comm: MPI.Intracomm
    config: Config
    reporter: Reporter
    dataset: Dataset
    pool: Pool
    validation: np.ndarray
    test: np.ndarray | None
    preprocessing: Preprocessing
    kernels: Kernels
    method: Method
    sampled: tuple[Kernels, ...] = ()
    whitened: Mapping[str, np.ndarray] = field(default_factory=dict)

    def _fetch(
        self, name: str, indices: np.ndarray, changes: Changes | None, start: int, stop: int
    ) -> tuple[np.ndarray, np.ndarray]:
        chosen, split = indices[start:stop], self.dataset.split(name)
        labels = self.labels(split.labels[chosen])
        if changes is not None:
            return self.preprocessing.apply(changes.apply(split.images[chosen], start)), labels
        return self.images(name, chosen), labels

    def images(self, split: str, indices: np.ndarray) -> np.ndarray:
        """Return images of a split, "train" or "test", preprocessed, float64."""
        if split in self.whitened:
            return self.whitened[split][indices]
        return self.preprocessing.apply(self.dataset.split(split).images[indices])

    def labels(self, classes: np.ndarray) -> np.ndarray:
        """Return classes `(n,)` as rows of labels `(n, n_classes)`, float64."""
        return self.config.support.label_scale * centred_one_hot(classes, self.dataset.n_classes)

    @property
    def augmentation(self) -> Augmentation:
        """How targets of steps are changed at random."""
        return Augmentation(**vars(self.config.augment), display_range=self.dataset.display_range)

    def batch_targets(self, step: int, count: int, balance: str = "classes") -> Targets:
        """Return `count` random training images (0: all) as targets of a step, augmented as configured.

        Args:
            balance: see `draw_batch`.
        """
        config = self.config
        indices = draw_batch(self.pool, count, config.seed, step, balance)
        changes = None
        if not self.augmentation.changes_nothing:
            changes = self.augmentation.draw(len(indices), self.dataset.image_shape[2], config.seed, step)
        return Targets(partial(self._fetch, "train", indices, changes), len(indices), self.reporter.within)

    def batch_kernels(self, step: int) -> Kernels:
        """Return the kernels that a step uses: the configured ones, or random ones of those to draw from."""
        if not self.sampled:
            return self.kernels
        return self.sampled[draw_kernel(len(self.sampled), self.config.seed, step)]

    def train_targets(self, indices: np.ndarray, title: str = "") -> Targets:
        """Return training images as targets; a title for reports of progress where that is no part of the whole."""
        report = partial(self.reporter.rows, title) if title else self.reporter.within
        return Targets(partial(self._fetch, "train", indices, None), len(indices), report)

    def test_targets(self) -> Targets | None:
        """Return the test images as targets, or None where the data set has none."""
        if self.dataset.test is None or self.test is None:
            return None
        report = partial(self.reporter.rows, "test images")
        return Targets(partial(self._fetch, "test", self.test, None), len(self.test), report)

    def needed_test_targets(self) -> Targets:
        """Return the test images as targets; `DataError` where the data set has none."""
        targets = self.test_targets()
        if targets is None:
            raise DataError(
                f"{self.dataset.name}: has no test split to measure on. Add one, or set data.test_share to take one."
            )
        return targets

    def natural_support(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return training images and their centred one-hot labels as `(x_s, y_s)`, float64."""
        train = self.dataset.train
        return self.preprocessing.apply(train.images[indices]), self.labels(train.labels[indices])

    def display(self, x: np.ndarray) -> np.ndarray:
        """Return preprocessed images as uint8 to look at. Collective: rank 0 makes them, which takes ZCA a matrix."""
        return on_root(self.comm, lambda: self.preprocessing.display(x))

    def regression_on(self, x_s: np.ndarray) -> KernelRegression:
        """Return kernel ridge regression on preprocessed images, as configured. Collective; close it."""
        solve = self.config.solve
        return KernelRegression(self.comm, self.kernels, x_s, solve.reg, solve.method)


def load_experiment(
    comm: MPI.Intracomm,
    config: Config,
    reporter: Reporter,
    origin: Origin | None = None,
    read: Callable[[], Dataset] | None = None,
    method: Method | None = None,
) -> Experiment:
    """Load, check and preprocess the data and choose the kernels. Collective.

    Args:
        origin: whose images these are to be like, and whose preprocessing they are given; None for a run that begins.
        read: returns the data set, on the first rank of each node; default: what `config.data` names.
        method: what is done with it; default: that of the configuration.

    Raises:
        DataError, ConfigError, CheckpointError: on every rank, before anything is computed or written.
    """
    dataset = load_shared(comm, read or partial(read_configured, config, reporter))
    with agree(comm):
        method = method or find_method(config.method)
        if origin is not None:
            origin.check(dataset)
        config.architecture.check_image_size(*dataset.image_shape[:2])
        pool = subset(config, dataset, "train_size")
        pool, validation = _validation(config, dataset, pool)
        test = None if dataset.test is None else subset(config, dataset, "test_size").indices
        if test is None and method.needs_test:
            raise DataError(
                f"{config.data.name}: has no test split to measure on. Add one, or set data.test_share to take one."
            )
        check_sizes(config, method, pool)
        method.check_images(config, pool, len(validation))
    for note in (*dataset.notes, *method.notes(config, pool, dataset.class_names)):
        reporter.say(note)
    with agree(comm):
        kernels, *sampled = (
            choose_kernels(config.with_architecture(name), dataset.image_shape, reporter.say)
            for name in (config.kernel.architecture, *method.networks(config))
        )
    check_gpus(comm, kernels, reporter)
    fitted, zca_file = (origin.standardisation(), origin.zca_file) if origin else (None, None)
    preprocessing = load_preprocessing(comm, config, dataset, pool, reporter, standardisation=fitted, zca_file=zca_file)
    return Experiment(
        comm, config, reporter, dataset, pool, validation, test, preprocessing, kernels, method, tuple(sampled)
    )


def subset(config: Config, dataset: Dataset, key: str) -> Pool:
    """Return the images of a split that `data.train_size` or `data.test_size` leaves in use. Not collective."""
    labels = dataset.train.labels[: dataset.n_train] if key == "train_size" else dataset.split("test").labels
    pool = make_pool(labels, dataset.n_classes)
    return draw_subset(pool, getattr(config.data, key), config.seed, f"data.{key}")


def _validation(config: Config, dataset: Dataset, pool: Pool) -> tuple[Pool, np.ndarray]:
    """Return the images to train on, and the indices of those to validate on: the data's own, or some held out."""
    count = config.data.validation
    if dataset.validation and count:
        raise ConfigError(
            f"data.validation={count}, but {dataset.name} has a validation split of {dataset.validation} images. "
            "Leave data.validation at 0 to use that."
        )
    if dataset.validation:
        return pool, np.arange(dataset.n_train, len(dataset.train))
    return hold_out(pool, count, config.seed)


def read_configured(config: Config, reporter: Reporter) -> Dataset:
    """Read the data set of a configuration. Not collective."""
    data = config.data
    return load_dataset(data.name, data.root or None, reading_of(config), partial(reporter.rows, "pictures read"))


def load_shared(comm: MPI.Intracomm, read: Callable[[], Dataset]) -> Dataset:
    """Return the data set with one copy of its arrays per node. Collective.

    Args:
        read: returns it; called on the first rank of each node.

    Raises:
        DataError: on every rank; files that cannot be used, or that are others on one node than on another.
    """
    node = node_communicator(comm)
    dataset: Dataset | None = None
    with agree(comm):
        if node.Get_rank() == 0:
            dataset = read().with_sha256()
    dataset = _share(node, dataset)
    first = bcast_object(comm, dataset.sha256)
    with agree(comm):
        if dataset.sha256 != first:
            raise DataError(
                f"{dataset.name}: {platform.node()} has other images or labels than the first node. Put the same "
                "files on all nodes, or use a folder that they share."
            )
    return dataset


def _share(node: MPI.Intracomm, dataset: Dataset | None) -> Dataset:
    """Return `dataset` of the node's first rank on every rank of the node, arrays in shared memory. Collective."""

    def shared(split: Split | None) -> Split:
        return Split(
            share_array(node, split.images if split else None), share_array(node, split.labels if split else None)
        )

    empty = Split(np.empty(0), np.empty(0))
    frame = replace(dataset, train=empty, test=dataset.test and empty) if dataset else None
    frame = bcast_object(node, frame)
    assert frame is not None  # the first rank of the node has it
    train = shared(dataset.train if dataset else None)
    test = shared(dataset.test if dataset else None) if frame.test is not None else None
    return replace(frame, train=train, test=test)


def choose_kernels(
    config: Config, image_shape: tuple[int, int, int], log: Callable[[str], None] = lambda line: None
) -> Kernels:
    """Return the kernel evaluators in the configured precision; `log` hears of a slow choice. Not collective."""
    architecture, k = config.architecture, config.kernel
    dtype_ss, dtype_ts = k.types
    ss = choose_backend(architecture, image_shape, np.dtype(dtype_ss), k.backend, log)
    if dtype_ss == dtype_ts:
        return Kernels(ss, ss)
    return Kernels(ss, choose_backend(architecture, image_shape, np.dtype(dtype_ts), k.backend))


def check_sizes(config: Config, method: Method, pool: Pool) -> None:
    """Raise `ConfigError` unless the support can be drawn from the pool, and is no larger than the targets are."""
    per_class, n_classes = config.support.images_per_class, len(pool.by_class)
    if per_class > pool.smallest_class and config.support.init == "natural":
        smallest = min(range(n_classes), key=lambda k: len(pool.by_class[k]))
        noise = ", or let images start from support.init=noise" if method.learns_images else ""
        raise ConfigError(
            f"support.images_per_class={per_class}, but class {smallest} has {pool.smallest_class} training images. "
            f"Use at most {pool.smallest_class}{noise}."
        )
    key, batch = method.targets(config)
    n_s, n_t = per_class * n_classes, batch or len(pool)
    if n_s > n_t:
        target, remedy = (f"{key}={n_t}", f" or raise {key}") if batch else (f"the {n_t} training images", "")
        raise ConfigError(
            f"support of {n_s} images ({per_class} per class) is larger than the target: {target}. "
            f"Lower support.images_per_class{remedy}."
        )
