"""What a method does: a generator of steps, without files. `run.loop` saves, stops, resumes and reports.

Every function of a driver is called on all ranks: it is collective. What it returns, yields, and keeps in `history`
is the same on all of them: random draws come from `config.seed` and the number of the step (`experiment.batch_targets`,
`data.sampling`), sums over targets from `KernelRegression`, and what the clock or one rank alone tells is broadcast
(`mpi.collectives.bcast_object`).

An experiment gives a driver `pool` (the training images in use, by class), `batch_targets(step, count)` (random ones of
them as targets, augmented), `train_targets`, `test_targets`; `natural_support(indices)` and
`run.initial_support.make_initial_support` (what `support.init` asks for; `noise_mask`: pixels that `support.corruption`
keeps as they are); and `regression_on(images)`, which has memory, of GPUs too, until it is closed.
`hpcdistill.methods.kip` is an example with all of it, `tests/plugins/random_search` a short one.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from hpcdistill.errors import EnvironmentSetupError, NotFiniteError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.learning.history import History
from hpcdistill.mpi.collectives import bcast_object
from hpcdistill.run.evaluator import Evaluator
from hpcdistill.run.experiment import Experiment


class Moment(Enum):
    """What a driver has just come to. At each but PROVEN the run can be stopped."""

    #: A step is done, and its result is good: it is saved where that is due.
    STEP = auto()
    #: A step is done; whether its result is good will be seen.
    UNPROVEN = auto()
    #: The result of the last step is good: it is saved where that is due.
    PROVEN = auto()


@dataclass(frozen=True)
class Snapshot:
    """What a checkpoint holds of a method's state, the same on every rank.

    Attributes:
        step: by which the checkpoint is named.
        images, labels: the support: preprocessed `(n, h, w, c)`, and `(n, classes)`; float64.
        source_index: training images that the support was drawn as, int64 `(n,)`; -1 for one that is none.
        initial_display: the images that it started from as they look, uint8.
        arrays: whatever else the method goes on from, by HDF5 path: "NAME/…".
    """

    step: int
    images: np.ndarray
    labels: np.ndarray
    history: History
    source_index: np.ndarray
    initial_display: np.ndarray
    arrays: dict[str, np.ndarray] = field(default_factory=dict)

    def check(self, method: str, image_shape: tuple[int, int, int], n_classes: int) -> None:
        """Raise unless a checkpoint can hold it. Not collective.

        Raises:
            EnvironmentSetupError: something is not what it has to be: the method's driver is wrong.
            NotFiniteError: an image or a label is NaN or infinite.
        """
        n = len(self.images)
        wanted = {
            "images": (self.images, (n, *image_shape), "f"), "labels": (self.labels, (n, n_classes), "f"),
            "source_index": (self.source_index, (n,), "i"),
            "initial_display": (self.initial_display, (n, *image_shape), "u"),
        }  # fmt: skip
        for name, (array, shape, kind) in wanted.items():
            if not isinstance(array, np.ndarray) or array.shape != shape or array.dtype.kind != kind:
                raise _wrong(method, f"{name} must be {shape} of {_KINDS[kind]}, not {_in_words(array)}")
        for path, array in self.arrays.items():
            if path.partition("/")[0] in _TAKEN or "/" not in path.strip("/"):
                raise _wrong(method, f"arrays[{path!r}] must have a path of its own, such as '{method}/{path}'")
            if not isinstance(array, np.ndarray) or array.dtype.kind not in "biuf":
                raise _wrong(method, f"arrays[{path!r}] must be an array of numbers, not {_in_words(array)}")
        for name in ("images", "labels"):
            if not np.isfinite(getattr(self, name)).all():
                raise NotFiniteError(f"{name} of the support are not finite at step {self.step}.")


_KINDS = {"f": "float64", "i": "int64", "u": "uint8"}
#: Groups of a checkpoint that every method has.
_TAKEN = frozenset({"support", "history", "preprocess", "random"})


def _wrong(method: str, what: str) -> EnvironmentSetupError:
    return EnvironmentSetupError(f"method {method!r}: of its driver's snapshot {what}. Mend the package it comes from.")


def _in_words(value: object) -> str:
    return f"{value.shape} of {value.dtype}" if isinstance(value, np.ndarray) else repr(value)[:60]


class Driver(ABC):
    """The state of a run, and the steps that change it. A method derives its own from it.

    Args:
        evaluator: measures supports on the images held out.
        resumed: the checkpoint that the run goes on from; None at the start.

    Attributes:
        history: figures so far, a row for each step.
    """

    def __init__(self, experiment: Experiment, evaluator: Evaluator, resumed: Checkpoint | None) -> None:
        self.experiment, self.evaluator = experiment, evaluator
        self.history = History.from_arrays(resumed.history()) if resumed else History()
        self._started = time.monotonic() - self.history.last_seconds

    @property
    @abstractmethod
    def step(self) -> int:
        """The number of the newest step."""

    @property
    def saved_as(self) -> object:
        """What tells the present state from others; None where there is nothing to save yet.

        A run that ends, or is stopped, saves the present state unless the last one saved is told the same.
        """
        return self.step

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """Return the present state. What is in it must not be changed later, but for the history."""

    @abstractmethod
    def moments(self) -> Iterator[Moment]:
        """Make one step after another, up to the end of the run.

        Raises:
            NumericalError: on every rank; the last state that was said to be good is saved.
        """

    def is_due(self) -> bool:
        """Return whether the present state is saved though the run goes on; asked at each STEP and PROVEN.

        A driver with many steps heeds `checkpoint.every` here; without a method of its own each step is saved.
        """
        return True

    def seconds(self) -> float:
        """Return what the run has taken so far, earlier attempts included; rank 0's on every rank."""
        return bcast_object(self.experiment.comm, time.monotonic() - self._started)
