"""Reading whole files, with errors a user can act on."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from os import PathLike
from pathlib import Path

from hpcdistill.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
#: Of archives that hold something, and of empty ones.
ZIP_MAGIC = (b"PK\x03\x04", b"PK\x05\x06")


def one_line(error: BaseException) -> str:
    """Return the message of `error` on one line, or its class where it has none. Not collective."""
    return " ".join(str(error).split()) or type(error).__name__


def expand_home(path: str | PathLike) -> Path:
    """Return `path` with a leading `~` replaced by the home directory.

    Raises:
        DataError: there is no such home directory. Not collective.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise DataError(f"{path}: there is no home directory to put for '~'. Give an absolute path.") from None


def open_error(path: Path, error: OSError) -> DataError:
    """Translate the failure to open or read `path`. Not collective."""
    if isinstance(error, FileNotFoundError):
        return DataError(f"{path}: no such file. Check the path.")
    if isinstance(error, IsADirectoryError):
        return DataError(f"{path}: is a directory, a file is expected. Give the path of the file itself.")
    if isinstance(error, PermissionError):
        return DataError(f"{path}: no permission to read it. Ask its owner, or use `chmod` to make it readable.")
    return DataError(f"{path}: cannot be read ({one_line(error)}). Check the path and the file system.")


def check_readable(path: Path) -> None:
    """Open `path` and read one byte, so that what a library says later is about the content.

    Raises:
        DataError: missing, a directory, or no permission. Not collective.
    """
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise open_error(path, error) from None


def names_in_zip(path: Path, head: bytes) -> list[str]:
    """Return the names in a zip archive, none for any other file, or a damaged one.

    Args:
        head: what the file begins with.
    """
    if not head.startswith(ZIP_MAGIC):
        return []
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return []


def read_bytes(path: Path) -> bytes:
    """Read a file whole, unpacking it if its content (whatever its name) is gzip.

    Raises:
        DataError: missing, unreadable, or a truncated or damaged gzip file. Not collective.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise open_error(path, error) from None
    return _gunzip(path, raw) if raw.startswith(GZIP_MAGIC) else raw


def _gunzip(path: Path, raw: bytes) -> bytes:
    try:
        return gzip.decompress(raw)
    except EOFError:
        raise DataError(f"{path}: truncated gzip file ({len(raw)} bytes). Delete it and fetch it again.") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path}: damaged gzip file ({one_line(error)}). Delete it and fetch it again.") from None
