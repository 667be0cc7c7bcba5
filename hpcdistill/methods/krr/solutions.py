"""What is known of the weights of each ridge: solved for, measured, or under way. Not collective."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcdistill.learning.tally import Tally
from hpcdistill.linalg.conjugate_gradients import DRIFT, Progress

#: Figures of each ridge, as a checkpoint has them in /krr: NaN where not known.
FIGURES = ("residual", "steps", "validation_accuracy", "test_accuracy", "test_loss")


class Solutions:
    """Weights `(K_ss + λI)⁻¹ y_s` at some ridges, the same on every rank.

    Args:
        regs: relative to the mean diagonal of K_ss; those that are there twice count once.
        shape: `(n, classes)`.

    Attributes:
        regs: `(m,)` float64.
        weights: `(m, n, classes)` float64.
        is_solved, is_singular: `(m,)` bool: whether they are known, or K_ss + λI is not positive definite.
        figures: `(m,)` each, by `FIGURES`.
        iterated: the state of those that are iterated, all together; None otherwise.
    """

    def __init__(self, regs: Sequence[float], shape: tuple[int, ...]) -> None:
        self.regs = np.array(list(dict.fromkeys(regs)))
        count = len(self.regs)
        self.weights = np.zeros((count, *shape))
        self.is_solved, self.is_singular = np.zeros(count, bool), np.zeros(count, bool)
        self.figures = {name: np.full(count, np.nan) for name in FIGURES}
        self.iterated: Progress | None = None

    @property
    def state(self) -> tuple[int, int, bool] | None:
        """What tells one state from another; None at the start."""
        steps = self.iterated.step if self.iterated else 0
        done = len(self.regs) - len(self.left())
        return (done, steps, self.is_measured) if done or steps else None

    @property
    def all_solved(self) -> bool:
        """Whether nothing is left to be solved."""
        return len(self.left()) == 0

    @property
    def is_measured(self) -> bool:
        """Whether what is solved is measured."""
        return self.all_solved and bool(np.isfinite(self.figures["test_accuracy"][self.is_solved]).all())

    def solved(self, i: int, weights: np.ndarray, residual: float, steps: int) -> None:
        """Take the weights of a ridge."""
        self.weights[i], self.is_solved[i] = weights, True
        self.figures["residual"][i], self.figures["steps"][i] = residual, steps

    def left(self) -> np.ndarray:
        """Return the ridges that are neither solved for nor singular, `(k,)`."""
        return np.flatnonzero(~(self.is_solved | self.is_singular))

    def reopen(self, tolerance: float) -> None:
        """Take for not solved what a tolerance that has become tighter does not let pass."""
        loose = self.is_solved & (self.figures["residual"] > DRIFT * tolerance)
        if not loose.any():
            return
        self.is_solved[loose] = False
        columns = self.weights.shape[0] * self.weights.shape[2]
        if self.iterated is not None and (not loose.all() or self.iterated.x.shape[1] != columns):
            self.iterated = None  # it is of other ridges

    def under_way(self, ridges: np.ndarray, iterated: Progress) -> None:
        """Take the state of ridges that are iterated together; columns are ridge by ridge."""
        self.iterated = iterated
        self.figures["residual"][ridges] = iterated.history[-1].reshape(len(ridges), -1).max(axis=1)
        self.figures["steps"][ridges] = iterated.step

    def solved_weights(self) -> list[np.ndarray]:
        """Return the weights that are known, `(n, classes)` each."""
        return list(self.weights[self.is_solved])

    def measured(self, validation: Sequence[Tally] | None, test: Sequence[Tally] | None) -> None:
        """Take what those that are solved predict."""
        for name, tallies in (("validation_accuracy", validation), ("test_accuracy", test)):
            if tallies:
                self.figures[name][self.is_solved] = [one.accuracy for one in tallies]
        if test:
            self.figures["test_loss"][self.is_solved] = [one.loss for one in test]

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what `restore` takes, in memory of its own."""
        arrays = {"regs": self.regs, "weights": self.weights.copy(), "is_solved": self.is_solved.astype(np.uint8),
                  "is_singular": self.is_singular.astype(np.uint8)}  # fmt: skip
        arrays |= {name: column.copy() for name, column in self.figures.items()}
        if self.iterated is not None:
            arrays |= {f"iterated_{name}": array for name, array in self.iterated.to_arrays().items()}
        return arrays

    def restore(self, arrays: dict[str, np.ndarray]) -> None:
        """Take what `to_arrays` has returned. Of other ridges, what both have; then what was iterated is dropped."""
        _, here, there = np.intersect1d(self.regs, arrays["regs"], return_indices=True)
        self.weights[here] = arrays["weights"][there]
        self.is_solved[here], self.is_singular[here] = arrays["is_solved"][there] > 0, arrays["is_singular"][there] > 0
        for name, column in self.figures.items():
            column[here] = arrays[name][there]
        iterated = {name.removeprefix("iterated_"): array for name, array in arrays.items() if "iterated_" in name}
        if iterated and np.array_equal(self.regs, arrays["regs"]):
            self.iterated = Progress.from_arrays(iterated)
