"""What a checkpoint says about its run, as a report needs it."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from hpcdistill.digest import sha256_of
from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.support_origin import support_classes
from hpcdistill.method import Method, described

_IN_KERNEL_NAME = ("kernel.architecture", "kernel.kind")


@dataclass(frozen=True)
class Facts:
    """A checkpoint's content under plain names. Whatever is missing raises `CheckpointError`, saying what."""

    checkpoint: Checkpoint

    def attribute(self, name: str) -> Any:
        """Return an attribute of the file."""
        return self.checkpoint.attribute(name)

    @cached_property
    def method(self) -> Method:
        """What is known of the method."""
        return described(self.attribute("method"))

    @property
    def step(self) -> int:
        """Number of the last step."""
        return int(self.attribute("step"))

    @cached_property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of the labels' columns."""
        return self.checkpoint.class_names()

    @cached_property
    def labels(self) -> np.ndarray:
        """Labels of the support, `(n, classes)` float64."""
        labels = self.checkpoint.array("support/labels")
        if labels.shape[1:] != (len(self.class_names),) or not np.isfinite(labels).all():
            raise self.checkpoint.changed("/support/labels are not all finite")
        return labels

    @property
    def images_per_class(self) -> float:
        """Size of the support per class."""
        return len(self.labels) / len(self.class_names)

    @cached_property
    def original_labels(self) -> np.ndarray:
        """Labels that the support started with, `(n, classes)`: centred one-hot, of the classes it was drawn from."""
        of_class, classes = support_classes(self.checkpoint), self.labels.shape[1]
        scale = float(self.setting("support", "label_scale", 1.0))
        return scale * (np.eye(classes)[of_class] - 1.0 / classes)

    @property
    def labels_changed(self) -> bool:
        """Whether labels were learned, or solved for."""
        return bool(self.method.labels) and not np.allclose(self.labels, self.original_labels, atol=1e-12)

    @cached_property
    def _config(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.attribute("config"))
        except tomllib.TOMLDecodeError as error:
            raise CheckpointError(f"the checkpoint's attribute config is not valid TOML ({error}).") from None

    @property
    def loss_in_words(self) -> str:
        """A sentence on what the loss is, "" for the papers'."""
        return self.method.loss_in_words(self._config.get(self.method.name, {}), self.checkpoint.history())

    def setting(self, section: str, key: str, default: Any) -> Any:
        """Return a setting of the run, or `default` where its version did not have it yet."""
        return self._config.get(section, {}).get(key, default)

    @cached_property
    def support_sha256(self) -> str:
        """Digest of the support, by which records of measurements name it."""
        return sha256_of(self.checkpoint.images("support/images"), self.checkpoint.array("support/labels"))

    def differences(self, settings: Mapping[str, Any], data: Mapping[str, str]) -> list[str]:
        """Return in what a measurement differs from the run, as "section.key=value"; its kernel's name left out.

        Args:
            settings: by section.key.
            data: name of its data set, and digests by split.
        """
        mine = {"": self._config} | {name: table for name, table in self._config.items() if isinstance(table, dict)}
        found = []
        for key, value in settings.items():
            section, _, name = key.rpartition(".")
            if key not in _IN_KERNEL_NAME and mine.get(section, {}).get(name) != value:
                found.append(f"{key}={value}")
        if any(self.attribute(f"{split}_sha256") != data.get(split, "") for split in ("train", "test")):
            found.append(f"data.name={data['name']}")
        return found

    @property
    def kernel(self) -> str:
        """What the kernel is called in evaluations: "ConvNet NTK"."""
        return f"{self.attribute('architecture')} {str(self.setting('kernel', 'kind', 'ntk')).upper()}"

    @property
    def title(self) -> str:
        """What the run was: "KIP on digits: 10 images"."""
        n = len(self.labels)
        return f"{self.method.title} on {self.attribute('dataset')}: {n} image{'s' * (n > 1)}"

    def measured(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return steps int64 and values float64 of a column of the history, of the rows where it was measured."""
        history = self.checkpoint.history()
        values = history.get(name, np.full(len(history["step"]), np.nan))  # a column that is newer than the run
        known = np.isfinite(values)
        return history["step"][known], values[known]

    @cached_property
    def draws(self) -> int:
        """Random draws that were measured; 0 where the steps are none."""
        return len(self.measured("test_accuracy")[1]) if self.method.is_sample else 0

    @cached_property
    def accuracy(self) -> float | None:
        """Test accuracy: the last one measured, the mean over random draws, or None if none was."""
        values = self.measured("test_accuracy")[1]
        return None if len(values) == 0 else float(values.mean() if self.method.is_sample else values[-1])

    @property
    def spread(self) -> float | None:
        """Standard deviation of the test accuracy over random draws, None for fewer than two."""
        values = self.measured("test_accuracy")[1]
        return float(values.std(ddof=1)) if self.draws > 1 else None
