"""Reading an HDF5 file of unknown origin in a process of its own: damage can end HDF5's library by a signal.

The child (this module, started by its name) writes to its standard output one line of JSON, which says what there is,
and then the bytes of each array; what is wrong goes to standard error. Where it is to be told what to read when it is
known what there is, it first writes a line with the names, and is answered with a line. Not collective; the child uses
no MPI.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from hpcdistill.hdf5.complete import Content, attributes_of, datasets, is_text, open_complete, paths_of, text_of
from hpcdistill.hdf5.layout import Layout, layout_of

if TYPE_CHECKING:
    import h5py

#: How much of an array the child holds at a time.
_SLAB_BYTES = 64 << 20
#: What the child may compute, for any file and for each byte of it: damage can make HDF5 go round in circles.
_CPU_SECONDS, _CPU_SECONDS_PER_BYTE = 20, 1e-5


#: On the command line: in place of names, to ask; before the names of datasets whose layouts are told.
_ASK, _LAYOUTS = "?", "--layouts"

Choose = Callable[[Sequence[str]], Sequence[str]]


def read_apart(
    path: Path, names: Sequence[str] = (), choose: Choose | None = None, layouts: Sequence[str] = ()
) -> Content:
    """Read a file whoever wrote it. It takes a quarter of a second more than reading it in this process.

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
        pass  # so that what the child says is about the content
    package = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])}
    command = [sys.executable, "-m", "hpcdistill.hdf5.apart", str(path), *([_ASK] if choose else names),
               _LAYOUTS, *layouts]  # fmt: skip
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=environment) as child:
        assert child.stdin
        assert child.stdout
        assert child.stderr
        try:
            if choose and (line := child.stdout.readline()):
                answer = json.dumps(list(choose(json.loads(line)))).encode() + b"\n"
                with contextlib.suppress(BrokenPipeError):  # it has ended, and says why
                    child.stdin.write(answer)
                    child.stdin.flush()
            content = _receive(child.stdout)
        except BaseException:
            child.kill()
            raise
        child.stdout.close()
        said = child.stderr.read().decode(errors="replace").strip()
    if child.returncode == -signal.SIGXCPU:
        raise ValueError("it is damaged: HDF5 comes to no end where it reads it")
    if child.returncode < 0:
        raise ValueError(f"it is damaged: HDF5 ends by {signal.Signals(-child.returncode).name} where it reads it")
    if child.returncode or content is None:
        raise ValueError(said.splitlines()[-1] if said else "it could not be read")
    return content


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


def _send(path: Path, names: Sequence[str], layouts: Sequence[str], pipe: IO[bytes]) -> None:
    """In the child: write what the file holds."""
    with open_complete(path) as file:
        if list(names) == [_ASK]:
            pipe.write(json.dumps(paths_of(file)).encode() + b"\n")
            pipe.flush()
            found = _named(file, json.loads(sys.stdin.readline()))
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


def _main(path: str, words: Sequence[str]) -> int:
    at = words.index(_LAYOUTS)
    names, layouts = words[:at], words[at + 1 :]
    seconds = _CPU_SECONDS + int(_CPU_SECONDS_PER_BYTE * os.path.getsize(path))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    error = os.fdopen(os.dup(2), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # what libraries say
    try:
        _send(Path(path), names, layouts, sys.stdout.buffer)
        sys.stdout.flush()
    except Exception as problem:  # damage can raise any
        error.write(" ".join(str(problem).split()) or type(problem).__name__)
        error.flush()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1], sys.argv[2:]))
