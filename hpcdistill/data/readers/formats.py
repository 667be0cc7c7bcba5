"""Files with named arrays: which kinds there are, and which of them a file is, told by its content."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np

from hpcdistill.data.readers.files import open_error
from hpcdistill.errors import DataError
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
            choose: is given the names of all arrays, and returns those of the ones to read.

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
    own = [_format(name, reference) for name, reference in _OWN.items()]
    for one in own:
        if one.recognises(path, head):
            return one
    others = [_format(name, reference) for name, reference in added("readers").items() if name not in _OWN]
    for one in others:
        if one.recognises(path, head):
            return one
    for one in own:  # a damaged file, or none of arrays: its reader says so
        if path.suffix.lower() in one.suffixes:
            return one
    kinds = ", ".join(one.title for one in (*own, *others))
    raise DataError(f"{path}: is no file of arrays that can be read here. Valid: {kinds}.")


@cache
def _format(name: str, reference: str) -> Format:
    found: Format = load_object(f"reader {name!r}", reference)()
    return found
