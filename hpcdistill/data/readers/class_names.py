"""Names of classes: what they may be, in what order they are numbered, and labels that are names. Not collective."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from hpcdistill.errors import DataError


def check_class_names(names: Sequence[str], where: str) -> None:
    """Raise `DataError` where a name is empty, of several lines, no text, or another class's, too."""
    for name in names:
        if not name.strip() or len(name.splitlines()) != 1 or not name.isprintable():
            raise DataError(f"{where}: the name of a class is {name!r}. Use a line of readable text.")
    for name, times in Counter(names).most_common(1):
        if times > 1:
            raise DataError(f"{where}: {times} classes are called {name!r}. Give each a name of its own.")


def read_class_names(names: np.ndarray, where: str) -> tuple[str, ...]:
    """Return names of classes from an array `(k,)` of text; `DataError` for another."""
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise DataError(f"{where} must be text (k,), it is {names.dtype} {names.shape}. Correct it.")
    return tuple(name.decode(errors="replace") if isinstance(name, bytes) else str(name) for name in names)


def in_order(names: Sequence[str]) -> tuple[str, ...]:
    """Return names in the order in which classes are numbered: that of numbers where all are, else alphabetic."""
    return tuple(sorted(names, key=int) if all(name.isdecimal() for name in names) else sorted(names))


def numbers_of(labels: np.ndarray, class_names: Sequence[str], where: str) -> np.ndarray:
    """Return the numbers `(n,)` of classes that labels `(n,)` name; `DataError` for one that is none of these."""
    numbers = {name: number for number, name in enumerate(class_names)}
    unknown = sorted(set(labels.tolist()) - numbers.keys())
    if unknown:
        raise DataError(
            f"{where} has the class {unknown[0]!r}, which is none of {', '.join(class_names)}. Leave it out."
        )
    return np.array([numbers[label] for label in labels.tolist()], np.int64)
