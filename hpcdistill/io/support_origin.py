"""Where the images of a support come from: what they started as, and of which class each is."""

from __future__ import annotations

import tomllib

import numpy as np

from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint


def support_start(checkpoint: Checkpoint) -> str:
    """Return what the support started from, as a title: "natural images", "noise", or "start" for a file."""
    return {"natural": "natural images", "noise": "noise"}.get(_init(checkpoint), "start")


def support_classes(checkpoint: Checkpoint) -> np.ndarray:
    """Return the class `(n,)` that each image of the support was drawn from.

    Images are drawn class by class. Of a support from a file, whose order nobody knows, it is where its labels are
    largest.

    Raises:
        CheckpointError: there are no labels.
    """
    labels = checkpoint.array("support/labels")
    n, classes = labels.shape
    if _init(checkpoint) in ("natural", "noise") and n % classes == 0:
        return np.repeat(np.arange(classes), n // classes)
    return labels.argmax(axis=1)


def _init(checkpoint: Checkpoint) -> str:
    """Return the setting support.init; "" where the stored configuration cannot be read."""
    try:
        return str(tomllib.loads(checkpoint.attribute("config")).get("support", {}).get("init", "natural"))
    except (CheckpointError, tomllib.TOMLDecodeError):
        return ""
