"""Reading an HDF5 file of unknown origin in a process of its own: damage can end HDF5's library by a signal.

The process (`reader.py`) is started with the first file that is read, and forks for each: the next ones need not wait
for an interpreter that starts. Not collective.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np

from hpcdistill.hdf5.complete import Content
from hpcdistill.hdf5.layout import Layout

#: Variables by which launchers, and who looks for ranks, know a rank: the reader is none.
_OF_RANKS = ("OMPI_", "PMIX_", "PMI_", "SLURM_")

Choose = Callable[[Sequence[str]], Sequence[str]]


def read_apart(
    path: Path, names: Sequence[str] = (), choose: Choose | None = None, layouts: Sequence[str] = ()
) -> Content:
    """Read a file whoever wrote it. The first one takes a quarter of a second more than reading it in this process.

    Args:
        names: paths of the datasets to read, or of groups that hold them; default: all.
        choose: in place of names: is given the paths of all datasets, and returns those of the ones to read, if any.
        layouts: paths of datasets of which it is told where they lie in the file, if they are there.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is no HDF5 file, is damaged, or refers to other files.
        MemoryError: this process has no room for its arrays.
    """
    with path.open("rb"):
        pass  # so that what the reader says is about the content
    request = {"path": str(path.absolute()), "names": None if choose else list(names), "layouts": list(layouts)}
    with _READER.fork() as fork:
        _tell(fork.stdin, request)
        if choose and (line := fork.stdout.readline()):
            _tell(fork.stdin, list(choose(json.loads(line))))
        content = _receive(fork.stdout)
        said = fork.stderr.read().decode(errors="replace").strip()
    if fork.exit_code == -signal.SIGXCPU:
        raise ValueError("it is damaged: HDF5 comes to no end where it reads it")
    if fork.exit_code < 0:
        raise ValueError(f"it is damaged: HDF5 ends by {signal.Signals(-fork.exit_code).name} where it reads it")
    if fork.exit_code or content is None:
        raise ValueError(said.splitlines()[-1] if said else "it could not be read")
    return content


def _tell(pipe: int, what: object) -> None:
    with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
        line = json.dumps(what).encode() + b"\n"
        while line:
            line = line[os.write(pipe, line) :]


def _receive(pipe: IO[bytes]) -> Content | None:
    """Return what the child sends, None where it ends before it has sent everything."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        return None
    head = json.loads(line)
    arrays = {name: np.array(text, dtype=str) for name, text in head["texts"].items()}
    for name, dtype, shape in head["arrays"]:
        array = np.empty(shape, dtype)
        if pipe.readinto(array.reshape(-1).view(np.uint8)) != array.nbytes:  # type: ignore[attr-defined]
            return None
        arrays[name] = array
    layouts = {name: Layout(dtype, tuple(shape), chunks and tuple(chunks), is_filtered, start)
               for name, (dtype, shape, chunks, is_filtered, start) in head["layouts"].items()}  # fmt: skip
    return Content(head["attributes"], arrays, layouts)


class _Fork:
    """One fork of the reader: the pipes to it and, once it has ended, its exit code, or minus the signal."""

    def __init__(self, stdin: int, stdout: IO[bytes], stderr: IO[bytes]) -> None:
        self.stdin, self.stdout, self.stderr, self.exit_code = stdin, stdout, stderr, 1


class _Reader:
    """The process that reads for this one, started when it is needed and not there."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as in a fork of this process: the reader is the other's."""
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def fork(self) -> Iterator[_Fork]:
        """Have it fork, and wait for the fork's end; where the caller fails, both are ended at once."""
        with self._lock, contextlib.ExitStack() as at_end:
            (asked, stdin), (stdout, told), (stderr, said) = os.pipe(), os.pipe(), os.pipe()
            at_end.callback(os.close, stdin)
            fork = _Fork(stdin, *(at_end.enter_context(os.fdopen(pipe, "rb")) for pipe in (stdout, stderr)))
            try:
                try:
                    self._ask([asked, told, said])
                finally:
                    for pipe in (asked, told, said):
                        os.close(pipe)
                yield fork
                fork.exit_code = self._answer()
            except BaseException:  # nobody knows how far it is: the next file has another
                self._kill()
                raise

    def _ask(self, pipes: Sequence[int]) -> None:
        """Hand it the pipes, and wait until it has forked."""
        for is_new in (False, True):
            if is_new or self._channel is None:
                self._start()
            assert self._channel
            with contextlib.suppress(OSError):  # somebody has ended it
                socket.send_fds(self._channel, [b"?"], pipes)
                if self._answer():
                    return
        raise OSError("the process that reads HDF5 files does not start")

    def _answer(self) -> int:
        """Return the next number it sends, 0 where it has ended."""
        assert self._channel
        line = bytearray()
        while not line.endswith(b"\n"):
            if not (more := self._channel.recv(1)):
                return 0
            line += more
        return int(line)

    def _start(self) -> None:
        self.end()
        package = str(Path(__file__).parents[2])
        paths = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {name: value for name, value in os.environ.items() if not name.startswith(_OF_RANKS)}
        self._channel, far = socket.socketpair()
        with far:
            command = [sys.executable, "-m", "hpcdistill.hdf5.reader", str(far.fileno())]
            null = subprocess.DEVNULL
            self._process = subprocess.Popen(command, pass_fds=[far.fileno()], stdin=null, stdout=null,
                                             env=environment | {"PYTHONPATH": paths}, process_group=0)  # fmt: skip

    def _kill(self) -> None:
        """End it and its fork, whatever they are doing."""
        if self._process:
            os.killpg(self._process.pid, signal.SIGKILL)
        self.end()

    def end(self) -> None:
        """End it, if it is there."""
        if self._channel:
            self._channel.close()
        if self._process:
            self._process.wait()
        self._process = self._channel = None


_READER = _Reader()
atexit.register(_READER.end)
os.register_at_fork(after_in_child=_READER.forget)
