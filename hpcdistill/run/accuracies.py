"""Accuracies of several draws or trainings, as they are told."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Accuracies:
    """How well supports of one size do.

    Attributes:
        images: size of the support.
        accuracies: of each draw or training, in 0…1.
    """

    images: int
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over them."""
        return float(np.mean(self.accuracies))

    @property
    def spread(self) -> float:
        """Standard deviation over them, 0 for one."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0

    def __str__(self) -> str:
        spread = f" ± {self.spread:.2%}" if len(self.accuracies) > 1 else ""
        return f"{self.mean:.2%}{spread}"
