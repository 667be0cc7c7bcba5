"""`OUTPUT/evaluations/`: what `evaluate` and `transfer` have measured of a run's checkpoints. Not collective.

A JSON file for each measurement: its `kind` ("distilled", "natural" or "transfer"), a `key` that is the same for what
measures the same, its figures and their `date`. The file is named after kind and key. So a new measurement replaces an
older one of the same, and processes that measure side by side do not get in each other's way.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.whole_file import whole_file


def evaluations_path(folder: Path) -> Path:
    """Return where the records of a run are."""
    return folder / "evaluations"


def read_evaluations(folder: Path) -> list[dict[str, Any]]:
    """Return the records of a run's folder in the order of their dates, none where nothing was measured.

    Raises:
        CheckpointError: a file is damaged.
    """
    records = [_read(path) for path in sorted(evaluations_path(folder).glob("*.json"))]
    return sorted(records, key=lambda record: str(record.get("date", "")))


def read_evaluation(folder: Path, kind: str, key: str) -> dict[str, Any] | None:
    """Return the record of one measurement, None where it was not made.

    Raises:
        CheckpointError: its file is damaged.
    """
    path = _path(folder, kind, key)
    return _read(path) if path.exists() else None


def write_evaluation(folder: Path, record: dict[str, Any]) -> None:
    """Keep a record, with the time, in place of one that measured the same.

    Raises:
        StorageError: it cannot be written.
    """
    path = _path(folder, record["kind"], record["key"])
    now = datetime.now().astimezone().isoformat(timespec="milliseconds")
    try:
        path.parent.mkdir(exist_ok=True)
        with whole_file(path) as file:
            file.write(json.dumps(record | {"date": now}, indent=1).encode() + b"\n")
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}). What was measured is above.") from error


def _path(folder: Path, kind: str, key: str) -> Path:
    return evaluations_path(folder) / f"{kind}-{key}.json"


def _read(path: Path) -> dict[str, Any]:
    try:
        record = json.loads(path.read_text())
        if not isinstance(record, dict) or not isinstance(record["kind"], str) or not isinstance(record["key"], str):
            raise ValueError("it is no record of a measurement")
    except (OSError, ValueError, KeyError, RecursionError) as error:
        raise CheckpointError(f"{path}: cannot be read ({error}). Remove it, and measure anew.") from None
    return record
