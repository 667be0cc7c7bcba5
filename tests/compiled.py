"""What tests have compiled, kept from one run to the next in `~/.cache/hpcdistill/tests` (or `$XDG_CACHE_HOME/…`).

A file's name is a hash of all that decides what is in it. Whatever lies there may be removed at any time.
"""

import fcntl
import hashlib
import os
import subprocess
from functools import cache
from pathlib import Path

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
    digest = hashlib.sha256()
    for part in key:
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else str(part).encode()).digest())
    path = FOLDER / "texts" / digest.hexdigest()[:24]
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        made = path.with_suffix(f".{os.getpid()}")
        made.write_text(make())
        made.replace(path)
    return path.read_text()


@cache
def _compiler():
    return subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
