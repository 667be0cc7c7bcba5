"""The process in which HDF5 files of unknown origin are read: it forks for each file, and damage ends only the fork.

`apart.py` starts it and asks. A fork is handed three pipes for its standard input, output and error. It writes one line
of JSON, which says what there is, and then the bytes of each array; what is wrong goes to standard error. No MPI.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import sys
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hpcdistill.hdf5.complete import attributes_of, datasets, is_text, open_complete, paths_of, text_of
from hpcdistill.hdf5.layout import layout_of

if TYPE_CHECKING:
    import h5py

#: How much of an array it holds at a time.
_SLAB_BYTES = 64 << 20
#: What it may compute, for any file and for each byte of it: damage can make HDF5 go round in circles.
_CPU_SECONDS, _CPU_SECONDS_PER_BYTE = 20, 1e-5


def serve(channel: socket.socket) -> None:
    """Read files until who asks is gone.

    Each request is a byte with three pipes. It is answered with the fork's number, and with its exit code once it has
    ended (minus the signal that ended it), a line each.
    """
    while True:
        asked, pipes, _, _ = socket.recv_fds(channel, 1, 3)
        if not asked:
            return
        if (fork := os.fork()) == 0:
            _end_with(pipes)
        for pipe in pipes:
            os.close(pipe)
        channel.sendall(b"%d\n" % fork)
        channel.sendall(b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]))


def _end_with(pipes: Sequence[int]) -> None:
    """In the fork: read one file, and end."""
    code = 1
    try:
        for standard, pipe in enumerate(pipes):
            os.dup2(pipe, standard)
            os.close(pipe)
        with os.fdopen(0, "rb", closefd=False) as asked, os.fdopen(1, "wb", closefd=False) as told:
            code = _read(asked, told)
    finally:
        os._exit(code)


def _read(asked: IO[bytes], told: IO[bytes]) -> int:
    """Send what is asked for of a file; return the exit code."""
    request = json.loads(asked.readline())
    path = Path(request["path"])
    seconds = _CPU_SECONDS + int(_CPU_SECONDS_PER_BYTE * path.stat().st_size)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    error = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say
    try:
        _send(path, request["names"], request["layouts"], asked, told)
        told.flush()
    except Exception as problem:  # damage can raise any
        error.write(" ".join(str(problem).split()) or type(problem).__name__)
        error.flush()
        return 1
    return 0


def _send(path: Path, names: Sequence[str] | None, layouts: Sequence[str], asked: IO[bytes], pipe: IO[bytes]) -> None:
    """Write what the file holds; of which names, is asked where it is not said."""
    with open_complete(path) as file:
        if names is None:
            pipe.write(json.dumps(paths_of(file)).encode() + b"\n")
            pipe.flush()
            found = _named(file, json.loads(asked.readline()))
        else:
            found = datasets(file, names)
        numbers = {name: dataset for name, dataset in found.items() if not is_text(dataset)}
        head: dict[str, Any] = {
            "attributes": attributes_of(file),
            "texts": {name: text_of(dataset).tolist() for name, dataset in found.items() if name not in numbers},
            "arrays": [(name, dataset.dtype.str, dataset.shape) for name, dataset in numbers.items()],
            "layouts": {name: astuple(layout_of(dataset)) for name, dataset in _named(file, layouts).items()},
        }
        pipe.write(json.dumps(head).encode() + b"\n")
        for dataset in numbers.values():
            _send_array(dataset, pipe)


def _named(file: h5py.File, names: Sequence[str]) -> dict[str, h5py.Dataset]:
    return datasets(file, names) if names else {}


def _send_array(dataset: h5py.Dataset, pipe: IO[bytes]) -> None:
    """Write the values of a dataset, some rows (of whole chunks) at a time."""
    if not dataset.ndim or not dataset.size:
        pipe.write(dataset[()].tobytes())
        return
    at_once = dataset.chunks[0] if dataset.chunks else 1
    rows = max(1, _SLAB_BYTES // (at_once * dataset.nbytes // len(dataset))) * at_once
    for start in range(0, len(dataset), rows):
        pipe.write(np.ascontiguousarray(dataset[start : start + rows]).data)


if __name__ == "__main__":
    import h5py  # once, for all forks

    with socket.socket(fileno=int(sys.argv[1])) as one_end:
        serve(one_end)
