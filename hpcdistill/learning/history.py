"""The record of a run: one row per step or draw."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

#: Columns of every history, in the order they are shown; methods may have more. What was not measured at a step is NaN.
COLUMNS = ("loss", "train_accuracy", "validation_accuracy", "test_accuracy", "temperature", "seconds")


@dataclass
class History:
    """Rows of figures. `step` counts updates made (KIP), chunks (Label Solve) or draws (KRR).

    Columns:
        loss, train_accuracy: KIP: of the batch whose gradient made this step, before the update; Label Solve: of all
            targets; KRR: not measured.
        validation_accuracy, test_accuracy: of the support after the step.
        temperature: of KIP's cross-entropy after the step.
        seconds: spent in this run up to the step, resumed parts added up.
        any other name: what a method adds.
    """

    rows: dict[int, dict[str, float]] = field(default_factory=dict)

    def add(self, step: int, **values: float | None) -> None:
        """Add figures to a step's row; None stands for not measured."""
        row = self.rows.setdefault(step, dict.fromkeys(COLUMNS, float("nan")))
        row.update({name: float(value) for name, value in values.items() if value is not None})

    def column(self, name: str) -> np.ndarray:
        """Return a column as float64, in order of steps."""
        return np.array([self.rows[step].get(name, float("nan")) for step in sorted(self.rows)])

    @property
    def last_seconds(self) -> float:
        """Seconds at the last row that has them, 0 at the start."""
        seconds = self.column("seconds")
        return float(np.nanmax(seconds)) if np.isfinite(seconds).any() else 0.0

    def best_validation_step(self) -> int | None:
        """Return the first step with the highest validation accuracy, or None if none was measured."""
        accuracy = self.column("validation_accuracy")
        return sorted(self.rows)[int(np.nanargmax(accuracy))] if np.isfinite(accuracy).any() else None

    def falls(self, name: str) -> tuple[float, float] | None:
        """Return the first and the last value of a column where the last one is lower; else None."""
        column = self.column(name)
        measured = column[np.isfinite(column)]
        return (float(measured[0]), float(measured[-1])) if len(measured) and measured[-1] < measured[0] else None

    def evaluations_since_best(self) -> int:
        """Return how many validation accuracies were measured after the best one."""
        best = self.best_validation_step()
        later = (s for s, row in self.rows.items() if best is not None and s > best)
        return sum(np.isfinite(self.rows[s]["validation_accuracy"]) for s in later)

    def up_to(self, step: int) -> History:
        """Return a history of the rows up to and including `step`."""
        return History({s: dict(row) for s, row in self.rows.items() if s <= step})

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the columns as arrays for a checkpoint's /history."""
        steps = {"step": np.array(sorted(self.rows), np.int64)}
        others = sorted({name for row in self.rows.values() for name in row} - {*COLUMNS})
        return steps | {name: self.column(name) for name in (*COLUMNS, *others)}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> History:
        """Return the history that `to_arrays` wrote."""
        history = cls()
        for i, step in enumerate(arrays["step"]):
            history.add(int(step), **{name: float(column[i]) for name, column in arrays.items() if name != "step"})
        return history
