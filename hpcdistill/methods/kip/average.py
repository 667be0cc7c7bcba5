"""The mean of the supports after the last steps of KIP, which small batches at a constant rate scatter around it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.methods.kip.step import KipState


@dataclass(frozen=True)
class Average:
    """A running mean. Not collective: states are the same on every rank.

    Attributes:
        count: how many supports it is of.
        images, labels: their means, like those of `KipState`.
    """

    count: int
    images: np.ndarray
    labels: np.ndarray

    @classmethod
    def stored(cls, checkpoint: Checkpoint) -> Average | None:
        """Return what a checkpoint has as its support, if that is an average."""
        if "kip/averaged" not in checkpoint.arrays:
            return None
        array = checkpoint.array
        return cls(int(array("kip/averaged")[0]), array("support/images"), array("support/labels"))

    def to_arrays(self, state: KipState) -> dict[str, np.ndarray]:
        """Return what a checkpoint whose support it is has beside it: the state from which the run goes on."""
        return {"kip/averaged": np.array([self.count]), "kip/images": state.x_s, "kip/labels": state.y_s}


def with_state(average: Average | None, state: KipState) -> Average:
    """Return the mean with one more support in it."""
    if average is None:
        return Average(1, state.x_s, state.y_s)
    n = average.count + 1
    images = average.images + (state.x_s - average.images) / n
    return Average(n, images, average.labels + (state.y_s - average.labels) / n)
