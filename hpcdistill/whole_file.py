"""Files that are complete or absent: written under a name that no other writer has, then renamed. Not collective."""

from __future__ import annotations

import errno
import fcntl
import glob
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

#: Ends the name of every file that is not finished.
TEMPORARY_SUFFIX = ".tmp"
#: Where a file system has no locks, a file that nobody has written to for so long is one that nobody writes.
_QUIET_SECONDS = 3600.0


def temporary_name(path: Path) -> Path:
    """Return a name beside `path` that no other writer has: `NAME.<12 hexadecimal digits>.tmp`."""
    return path.with_name(f"{path.name}.{uuid.uuid4().hex[:12]}{TEMPORARY_SUFFIX}")


def name_to_be(temporary: Path) -> str | None:
    """Return the name that a file of `temporary_name` was to get, None for any other file."""
    match = re.fullmatch(rf"(.+)\.[0-9a-f]{{12}}{re.escape(TEMPORARY_SUFFIX)}", temporary.name)
    return match and match[1]


def hold(descriptor: int) -> None:
    """Let other processes see, until it is closed, that an unfinished file is in use; where there are locks."""
    with suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)


def remove_leftovers(path: Path) -> None:
    """Remove what killed writers of `path` have left beside it: files of `temporary_name` that nobody holds."""
    with suppress(OSError):  # they do no harm
        for left in path.parent.glob(f"{glob.escape(path.name)}.*{TEMPORARY_SUFFIX}"):
            if name_to_be(left) == path.name and not _is_held(left):
                left.unlink(missing_ok=True)


def publish(temporary: Path, path: Path, *, durable: bool = True) -> None:
    """Give a finished file its name; a reader finds what was there before, or all of it.

    Args:
        durable: it is on the disk before this returns, so that it outlives a machine that loses power.
    """
    if durable:
        _flush(temporary)
    os.replace(temporary, path)
    if durable:
        _flush(path.parent)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary name: what is written there becomes `path` if all goes well, and is removed if not.

    Args:
        durable: see `publish`.

    Raises:
        OSError: it cannot be written; what was there before is intact.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        publish(temporary, path, durable=durable)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def whole_file(path: Path, *, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a file whose content becomes that of `path` if all goes well.

    What is no file, such as /dev/stdout, is written to as it is. A link stays one.

    Args:
        durable: see `publish`.

    Raises:
        OSError: it cannot be written; what was there before is intact.
    """
    path = path.resolve() if path.is_file() else path
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            yield file
        return
    with replacing(path, durable=durable) as temporary, temporary.open("wb") as file:
        yield file


def write_at(descriptor: int, content: bytes | memoryview, offset: int) -> None:
    """Write all of `content` at a place of an open file; the system may take it in parts.

    Raises:
        OSError: it cannot be written.
    """
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def is_full(error: BaseException) -> bool:
    """Tell whether the disk or quota is full: h5py, while closing, may raise another error over that which says so."""
    codes = (errno.ENOSPC, errno.EDQUOT)
    if getattr(error, "errno", None) in codes or any(os.strerror(code) in str(error) for code in codes):
        return True
    return error.__context__ is not None and is_full(error.__context__)


def _is_held(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - os.fstat(descriptor).st_mtime < _QUIET_SECONDS
    finally:
        os.close(descriptor)
    return False


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
