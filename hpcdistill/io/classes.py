"""Of which class each image of a support is."""

from __future__ import annotations

import tomllib

import numpy as np

from hpcdistill.io.checkpoint import Checkpoint


def support_classes(checkpoint: Checkpoint) -> np.ndarray:
    """Return the class `(n,)` that each image of the support was drawn from.

    Images are drawn class by class. Of a support from a file, whose order nobody knows, it is where its labels are
    largest.

    Raises:
        CheckpointError: there are no labels.
    """
    labels = checkpoint.array("support/labels")
    n, classes = labels.shape
    try:
        support = tomllib.loads(checkpoint.attributes.get("config", "")).get("support", {})
    except tomllib.TOMLDecodeError:
        support = {"init": ""}
    if support.get("init", "natural") in ("natural", "noise") and n % classes == 0:
        return np.repeat(np.arange(classes), n // classes)
    return labels.argmax(axis=1)
