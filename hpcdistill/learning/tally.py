"""What an evaluation has counted: residuals and predictions, target by target. Not collective."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tally:
    """An evaluation, under way or done.

    Attributes:
        done: targets evaluated.
        squares: sum of their squared residuals.
        confusion: `(classes, classes)`: how many targets of class i (row) were predicted as class j (column).
    """

    done: int
    squares: float
    confusion: np.ndarray

    @property
    def loss(self) -> float:
        """0.5 · mean of (f(x) − y)² over the targets and all entries of their labels."""
        return 0.5 * self.squares / (self.done * len(self.confusion))

    @property
    def accuracy(self) -> float:
        """Fraction of the targets whose largest prediction is at their class."""
        return float(np.trace(self.confusion)) / self.done

    @property
    def class_accuracy(self) -> np.ndarray:
        """The same for the targets of each class, `(classes,)`; NaN for a class without targets."""
        with np.errstate(invalid="ignore"):
            return np.diag(self.confusion) / self.confusion.sum(axis=1)

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the accuracies of the classes that have targets: each class counts the same, whatever its size."""
        return float(np.nanmean(self.class_accuracy))

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.done + other.done, self.squares + other.squares, self.confusion + other.confusion)


def no_targets(n_classes: int) -> Tally:
    """Return the tally of an evaluation that has not begun."""
    return Tally(0, 0.0, np.zeros((n_classes, n_classes), np.int64))


def count(prediction: np.ndarray, y: np.ndarray) -> Tally:
    """Return the tally of some targets with labels `y` `(m, classes)`."""
    n_classes = y.shape[1]
    pairs = y.argmax(axis=1) * n_classes + prediction.argmax(axis=1)
    confusion = np.bincount(pairs, minlength=n_classes**2).reshape(n_classes, n_classes)
    return Tally(len(y), float(np.square(prediction - y).sum()), confusion)
