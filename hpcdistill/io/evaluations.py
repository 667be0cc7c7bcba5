"""`OUTPUT/evaluations.json`: what `evaluate` and `transfer` have measured of a run's checkpoints. Not collective.

A JSON object `{"records": [...]}`; each record has a `kind` ("distilled", "natural" or "transfer"), a `date`, and its
figures. A record replaces an earlier one that measured the same.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.whole_file import whole_file

#: What tells one measurement from another.
_KEYS = ("kind", "step", "kernel", "images", "test_images", "seed", "width", "parameterization", "steps")


def evaluations_path(folder: Path) -> Path:
    """Return where the records of a run are."""
    return folder / "evaluations.json"


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run's folder, none where nothing was measured.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = evaluations_path(folder)
    try:
        records = json.loads(path.read_text())["records"]
        if not all(isinstance(record, dict) and "kind" in record for record in records):
            raise ValueError("a record has no kind")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Remove it, and measure anew.") from None
    return records


def add_evaluation(folder: Path, record: dict[str, Any]) -> None:
    """Add a record, in place of one that measured the same; a reader finds the old file or the new one.

    Raises:
        CheckpointError: the file is damaged.
        StorageError: it cannot be written.
    """
    path = evaluations_path(folder)
    records = [old for old in read_evaluations(folder) if not _measures_the_same(old, record)]
    try:
        with whole_file(path) as file:
            file.write(json.dumps({"records": [*records, record]}, indent=1).encode() + b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}). What was measured is above.") from error


def natural_accuracies(folder: Path, like: dict[str, Any]) -> list[float]:
    """Return the accuracies of natural images that were measured as the record `like` would be."""
    same = (record for record in read_evaluations(folder) if _measures_the_same(record, like))
    return next((list(record["accuracies"]) for record in same), [])


def _measures_the_same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(one.get(key) == other.get(key) for key in _KEYS)
