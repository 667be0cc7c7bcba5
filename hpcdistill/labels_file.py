"""`labels.csv`: the labels of pictures, beside their folders. A row each: file, class, and the label's entries."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

LABELS_FILE = "labels.csv"
_HEAD = ["file", "class"]


def write_labels(folder: Path, class_names: Sequence[str], rows: Iterable[tuple[str, str, np.ndarray]]) -> None:
    """Write the list of a folder's pictures: of each its path in the folder, its class, and its label."""
    with (folder / LABELS_FILE).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([*_HEAD, *class_names])
        for path, class_name, label in rows:
            table.writerow([path, class_name, *(repr(float(entry)) for entry in label)])


def read_labels_file(folder: Path) -> tuple[list[Path], list[str], np.ndarray]:
    """Return the pictures, the names of the classes, and the labels `(n, classes)` of a folder's list.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no such list, or names a file that is not in the folder.
    """
    with (folder / LABELS_FILE).open(newline="", encoding="utf-8") as file:
        head, *rows = list(csv.reader(file)) or [[""]]
    if head[:2] != _HEAD or not rows or any(len(row) != len(head) for row in rows):
        raise ValueError("it does not list file, class, and an entry of the label for each class")
    paths = [folder / row[0] for row in rows]
    for path in paths:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"it names {str(path)!r}, which is not in the folder")
    return paths, head[2:], np.array([row[2:] for row in rows], np.float64)
