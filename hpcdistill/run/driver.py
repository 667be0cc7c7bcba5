"""What a method does: a generator of steps, without files. `run.loop` saves, stops, resumes and reports.

Every function of a driver is called on all ranks: it is collective.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

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
        """What tells the present state from others; None where there is nothing to save yet."""
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
        """Return whether the present state is saved though the run goes on."""
        return True

    def seconds(self) -> float:
        """Return what the run has taken so far, earlier attempts included; rank 0's on every rank."""
        return bcast_object(self.experiment.comm, time.monotonic() - self._started)
