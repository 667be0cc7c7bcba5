"""The records of `OUTPUT/evaluations` that concern one checkpoint, checked and typed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcdistill.errors import CheckpointError
from hpcdistill.io.report.facts import Facts


@dataclass(frozen=True)
class Distilled:
    """How well the distilled set predicts the test images.

    Attributes:
        kernel: its name; where settings or data were others than the run's, they follow after commas. Here and below.
        accuracy, loss: on `test_images` images.
        per_class: `(classes,)` float64, NaN where a class has no test images, or None.
        confusion: `(classes, classes)` int64, true class by row, or None.
    """

    kernel: str
    images: int
    test_images: int
    accuracy: float
    loss: float
    per_class: np.ndarray | None
    confusion: np.ndarray | None


@dataclass(frozen=True)
class Draws:
    """Accuracies of random draws of `images` natural images, with a kernel."""

    kernel: str
    images: int
    accuracies: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return float(self.accuracies.mean())

    @property
    def spread(self) -> float | None:
        """Standard deviation over the draws, None for one."""
        return float(self.accuracies.std(ddof=1)) if len(self.accuracies) > 1 else None


@dataclass(frozen=True)
class Transfer:
    """Test accuracies of finite networks trained on the distilled set, and on natural images."""

    kernel: str
    width: int
    steps: int
    parameterization: str
    distilled: np.ndarray
    natural: np.ndarray


@dataclass(frozen=True)
class Measurements:
    """What was measured of one checkpoint, and of natural images beside it."""

    distilled: Sequence[Distilled] = ()
    natural: Sequence[Draws] = ()
    transfer: Sequence[Transfer] = ()


def measurements(records: Sequence[dict[str, Any]], facts: Facts) -> Measurements:
    """Return the records about a checkpoint's support, and those about natural images.

    Raises:
        CheckpointError: a record lacks something, or is of another number of classes.
    """
    by_kind: dict[str, list[Any]] = {"distilled": [], "natural": [], "transfer": []}
    for record in records:
        kind = record["kind"]
        try:
            if kind in by_kind and record["support"] in (None, facts.support_sha256):
                named = record | {"kernel": _full_name(record, facts)}
                by_kind[kind].append(_READ[kind](named, len(facts.class_names)))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"evaluations/{kind}-{record.get('key')}.json cannot be used ({error!r}). Remove it, and measure anew."
            ) from None
    return Measurements(**by_kind)


def _full_name(record: dict[str, Any], facts: Facts) -> str:
    return ", ".join([str(record["kernel"]), *facts.differences(record["settings"], record["data"])])


def _distilled(record: dict[str, Any], classes: int) -> Distilled:
    figures = float(record["accuracy"]), float(record["loss"])
    per_class = _matrix(record.get("per_class"), (classes,), np.float64)
    confusion = _matrix(record.get("confusion"), (classes, classes), np.int64)
    counts = int(record["images"]), int(record["test_images"])
    return Distilled(str(record["kernel"]), *counts, *figures, per_class, confusion)


def _matrix(values: Any, shape: tuple[int, ...], dtype: type) -> np.ndarray | None:
    if values is None:
        return None
    matrix: np.ndarray = np.array(values, dtype)
    if matrix.shape != shape:
        raise ValueError(f"shape {matrix.shape} instead of {shape}")
    return matrix


def _natural(record: dict[str, Any], classes: int) -> Draws:
    del classes
    return Draws(str(record["kernel"]), int(record["images"]), _accuracies(record["accuracies"]))


def _transfer(record: dict[str, Any], classes: int) -> Transfer:
    del classes
    sizes = int(record["width"]), int(record["steps"]), str(record["parameterization"])
    return Transfer(str(record["kernel"]), *sizes, _accuracies(record["distilled"]), _accuracies(record["natural"]))


def _accuracies(values: Any) -> np.ndarray:
    accuracies = np.array(values, np.float64)
    if accuracies.ndim != 1 or len(accuracies) == 0:
        raise ValueError("no list of accuracies")
    return accuracies


_READ = {"distilled": _distilled, "natural": _natural, "transfer": _transfer}
