"""What tests have compiled, or computed as a reference, kept from one run to the next.

It lies in `~/.cache/hpcdistill/tests` (or `$XDG_CACHE_HOME/…`).
A file's name is a hash of all that decides what is in it. Whatever lies there may be removed at any time.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

from hpcdistill.kernels.jax_cache import processor_id

FOLDER = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpcdistill" / "tests" / processor_id()


def keep_what_jax_compiles():
    """Have JAX keep what it compiles, in this process and in all that it starts, however little it is."""
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(FOLDER / "jax"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")


def shared_library(source, header, *flags):
    """Return the path of a C++ source, compiled; it includes `header`. Processes that ask at once compile it once."""
    command = ["g++", "-std=c++17", "-shared", "-fPIC", "-w", *flags]
    key = "\0".join([_compiler(), *command, header.read_text(), source])
    path = FOLDER / "libraries" / f"{hashlib.sha256(key.encode()).hexdigest()[:24]}.so"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".cpp").open("a+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not path.exists():
                file.truncate(0)
                file.write(source)
                file.flush()
                made = path.with_suffix(".tmp")
                subprocess.run([*command, f"-I{header.parent}", "-o", made, file.name], check=True, timeout=300)
                made.replace(path)
    return path


def kept_text(key, make):
    """Return the text that `make()` returns, or has returned before for the same key, a list of texts and bytes."""
    path = FOLDER / "texts" / _digest(key)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        made.write_text(make())
        made.replace(path)
    return path.read_text()


def kept_array(key, make):
    """Return the array that `make()` returns, or has returned before for the same key, a list of texts and bytes."""
    path = FOLDER / "arrays" / f"{_digest(key)}.npy"
    try:
        return np.load(path)
    except (OSError, ValueError, EOFError):  # not there yet, or a disk was full
        made = make()
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
        np.save(file, made)
    Path(file.name).replace(path)
    return made


def _digest(key):
    digest = hashlib.sha256()
    for part in key:
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else str(part).encode()).digest())
    return digest.hexdigest()[:24]


@contextmanager
def kept_copy(root, names, title):
    """Yield a copy of files and folders below `root` that is the same from one checkout to the next, for itself.

    Files in it that are as they were keep their times, so that what was compiled from them counts.
    """
    copy = FOLDER / title
    copy.mkdir(parents=True, exist_ok=True)
    with copy.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = [
            path for name in names for path in ((root / name).rglob("*") if (root / name).is_dir() else [root / name])
        ]
        wanted = {path.relative_to(root): path for path in found if path.is_file() and "__pycache__" not in path.parts}
        for old in copy.rglob("*"):
            if old.is_file() and old.relative_to(copy) not in wanted:
                old.unlink()
        for name, path in wanted.items():
            if not (copy / name).exists() or (copy / name).read_bytes() != path.read_bytes():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy / name)
        yield copy


@cache
def _compiler():
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
