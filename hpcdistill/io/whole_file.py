"""Files that are complete or absent. Not collective."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from hpcdistill.io.checkpoint import TEMPORARY_SUFFIX


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """Write a file under a temporary name beside it, which becomes `path` if all goes well and is removed if not.

    What is no file, such as /dev/stdout, is written to as it is. A link stays one.

    Raises:
        OSError: it cannot be written.
    """
    path = path.resolve() if path.is_file() else path
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    temporary = path.with_name(path.name + TEMPORARY_SUFFIX)
    try:
        with temporary.open("wb") as file:
            yield file
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
