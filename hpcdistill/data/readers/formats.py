"""Files with named arrays: which kinds there are, and which of them a file is, told by its content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from hpcdistill.data.readers.files import open_error
from hpcdistill.errors import DataError, EnvironmentSetupError
from hpcdistill.plugins import added, load_object

Choose = Callable[[Sequence[str]], Sequence[str]]

#: Where the format of each kind is. What other packages add is asked for files that are none of these.
_OWN = {
    "npz": "hpcdistill.data.readers.npz:NpzFormat",
    "torch": "hpcdistill.data.readers.torch:TorchFormat",
    "hdf5": "hpcdistill.data.readers.hdf5:Hdf5Format",
}
#: Bytes that a format is shown.
HEAD_BYTES = 4096


class Format(Protocol):
    """A kind of file with named arrays. Its class takes no arguments.

    Attributes:
        title: what messages call it.
        suffixes: of files that claim to be of this kind, lower case.
    """

    title: str
    suffixes: tuple[str, ...]

    def recognises(self, path: Path, head: bytes) -> bool:
        """Tell whether a file, which begins with these bytes, is of this kind."""
        ...

    def read(self, path: Path, choose: Choose) -> dict[str, np.ndarray]:
        """Return some of the arrays by name, as stored.

        Args:
            choose: is given the names of all arrays, and returns those of the ones to read; to be called once.

        Raises:
            DataError: it cannot be read; the message names the file, what is wrong, and what to do.
        """
        ...


def format_of(path: Path) -> Format:
    """Return what kind of file this is: by its content, and where that tells nothing by its suffix. Not collective.

    Raises:
        DataError: it cannot be opened, or is of no known kind.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise open_error(path, error) from None
    own = _own()
    for one in own:
        if one.recognises(path, head):
            return one
    others, broken = _others()
    for one in others:
        try:
            if one.recognises(path, head):
                return one
        except Exception as error:  # whatever a reader of others does: another may know the file
            broken = [*broken, f"{one.title} cannot be recognised ({_cause(error)})"]
    for one in (*own, *others):  # a damaged file, or none of arrays: its reader says so
        if path.suffix.lower() in one.suffixes:
            return one
    kinds = ", ".join(one.title for one in (*own, *others))
    more = "".join(f" {reason.rstrip('.')}." for reason in broken)
    raise DataError(f"{path}: is no file of arrays that can be read here. Valid: {kinds}.{more}")


def read_arrays(path: Path, choose: Choose) -> tuple[Format, dict[str, np.ndarray]]:
    """Return what kind of file this is, and the arrays that `choose` takes of it; see `Format.read`. Not collective.

    Raises:
        DataError: it cannot be read. What goes wrong in a reader of another package is one, too.
    """
    kind, chosen = format_of(path), list[str]()

    def note(names: Sequence[str]) -> Sequence[str]:
        chosen[:] = choose(names)
        return list(chosen)

    if kind in _own():
        return kind, kind.read(path, choose)
    try:
        arrays = dict(kind.read(path, note))
    except DataError:
        raise
    except Exception as error:
        raise DataError(f"{path}: cannot be read as {kind.title} ({_cause(error)}).") from error
    lacking = [name for name in chosen if not isinstance(arrays.get(name), np.ndarray)]
    if lacking or not chosen:
        what = f"gives no array {', '.join(lacking)}" if lacking else "does not ask which arrays to read"
        raise DataError(f"{path}: the reader of {kind.title} {what}. Mend or remove the package that it comes from.")
    return kind, {name: arrays[name] for name in chosen}


def _own() -> list[Format]:
    return [_format(name, reference) for name, reference in _OWN.items()]


def _others() -> tuple[list[Format], list[str]]:
    """Return the formats that other packages add, and why others cannot be used."""
    found, broken = list[Format](), list[str]()
    for name, reference in added("readers").items():
        if name in _OWN:
            continue
        try:
            found.append(_format(name, reference))
        except EnvironmentSetupError as error:
            broken.append(str(error))
    return found, broken


def _cause(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


@cache
def _format(name: str, reference: str) -> Format:
    try:
        found: Format = load_object(f"reader {name!r}", reference)()
        _ = found.title, found.suffixes, found.recognises, found.read
    except (TypeError, AttributeError) as error:
        raise EnvironmentSetupError(
            f"reader {name!r}: {reference} is no format of files ({error}). Mend or remove that package."
        ) from error
    return found
