"""HDF5 files written so that a disk that fails is an `OSError`. Not collective.

HDF5 keeps what it could not write, and tries again while it closes the file; h5py may then end the process by a signal.
Here HDF5 writes to an object that takes everything. Once a write has failed, the rest stays in memory, where HDF5 finds
it again, and the error is raised when HDF5 has closed the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from hpcdistill.whole_file import hold, publish, temporary_name, write_at


class NewFile:
    """A new file: `file`, as h5py has it, and what h5py writes to. Other processes see that it is in use (`hold`).

    Attributes:
        descriptor: of the file; for what is done to it when HDF5 has closed it.
    """

    def __init__(self, path: Path, **how: Any) -> None:
        import h5py

        self.descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)
        hold(self.descriptor)
        self._at = self._size = 0
        self._error: BaseException | None = None
        self._kept: list[tuple[int, bytes]] = []
        self._written: list[tuple[int, int]] = []
        self.file = h5py.File(self, "w", **how)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()
        os.close(self.descriptor)

    def finish(self) -> None:
        """Have HDF5 close the file.

        Raises:
            OSError: something could not be written.
        """
        self.file.close()
        self.check()

    def check(self) -> None:
        """Raise the `OSError` of the first write that failed, if one has."""
        if self._error is not None:
            raise self._error

    def place_of(self, content: bytes) -> int:
        """Return where HDF5 has written bytes since the last call: those of a chunk that was given to it as it is."""
        written, self._written = self._written, []
        for at, size in written:
            if size == len(content) and self._read(at, size) == content:
                return at
        raise RuntimeError("HDF5 has kept back a chunk that it was given to write")

    # What follows is for h5py.

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place."""
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        """Return the place."""
        return self._at

    def read(self, size: int) -> bytes:
        """Return what is there."""
        content = self._read(self._at, size)
        self._at += size
        return content

    def readinto(self, buffer: Any) -> int:
        """Read what is there."""
        view = memoryview(buffer)
        view[:] = self.read(len(view))
        return len(view)

    def write(self, content: Any) -> int:
        """Write, or keep."""
        view, at = memoryview(content), self._at
        if self._error is None:
            self._guard(lambda: write_at(self.descriptor, view, at))
        if self._error is not None:
            self._kept.append((at, bytes(view)))
        self._written.append((at, len(view)))
        self._at += len(view)
        self._size = max(self._size, self._at)
        return len(view)

    def truncate(self, size: int) -> None:
        """Let the file have this size."""
        if self._error is None:
            self._guard(lambda: os.ftruncate(self.descriptor, size))
        self._size = size

    def flush(self) -> None:
        """Nothing is held back."""

    def _guard(self, act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:  # also of a signal: HDF5 must hear of none
            self._error = error

    def _read(self, at: int, size: int) -> bytes:
        found = bytearray(os.pread(self.descriptor, size, at).ljust(size, b"\0"))
        for start, content in self._kept:
            first, last = max(start, at), min(start + len(content), at + size)
            if first < last:
                found[first - at : last - at] = content[first - start : last - start]
        return bytes(found)


@contextmanager
def whole_hdf5(path: Path, **how: Any) -> Iterator[NewFile]:
    """Yield a new file that becomes `path` if all goes well, and is removed if not.

    Args:
        how: arguments of `h5py.File`.

    Raises:
        OSError: it cannot be written; what was there before is intact.
    """
    temporary = temporary_name(path)
    try:
        with NewFile(temporary, **how) as made:
            yield made
            made.finish()
            publish(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
