"""The records of `OUTPUT/evaluations/`: what was measured, and everything that decides its figures. Not collective."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np

from hpcdistill.config import Config
from hpcdistill.data.preprocess import Preprocessing
from hpcdistill.digest import sha256_of
from hpcdistill.run.experiment import Experiment
from hpcdistill.run.preprocessing import preprocessing_hash
from hpcdistill.schema import flatten

#: Keys of the configuration that decide what a support, or natural images, are worth. The others say how one is made.
DECIDING_KEYS = (
    "seed",
    "data.train_size",
    "data.test_size",
    "data.validation",
    "preprocess.zca",
    "preprocess.zca_reg",
    "support.label_scale",
    "kernel.architecture",
    "kernel.kind",
    "kernel.w_std",
    "kernel.b_std",
    "kernel.precision",
    "solve.reg",
)


def kernel_name(config: Config) -> str:
    """Return what a kernel is called: "ConvNet NTK"."""
    return f"{config.kernel.architecture} {config.kernel.kind.upper()}"


def new_record(
    experiment: Experiment, kind: str, support: tuple[np.ndarray, np.ndarray] | None = None, **facts: Any
) -> dict[str, Any]:
    """Return the record of a measurement without its figures.

    Args:
        support: `(x_s, y_s)` that was measured; None for natural images.
        facts: what else decides the figures, such as the width of a network.

    Returns:
        kind, `key` (a digest of all that follows), settings, data, support, and the facts.
    """
    settings, dataset = flatten(experiment.config), experiment.dataset
    record = {
        "kind": kind,
        "settings": {key: settings[key] for key in DECIDING_KEYS},
        "data": {"name": dataset.name, **dataset.sha256},
        "preprocessing": _preprocessing_sha256(experiment.preprocessing),
        "support": support and sha256_of(*support),
        "test_images": 0 if experiment.test is None else len(experiment.test),
        **facts,
    }
    decisive = record | {"data": dict(dataset.sha256)}  # under whatever name
    key = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]
    return {**record, "key": key, "kernel": kernel_name(experiment.config)}


def _preprocessing_sha256(preprocessing: Preprocessing) -> str:
    arrays = preprocessing.arrays()
    return sha256_of(*(arrays[name] for name in sorted(arrays))) + preprocessing_hash(preprocessing)
