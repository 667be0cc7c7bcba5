"""On what a measurement was made: the processor, and versions of what computes."""

from __future__ import annotations

import importlib.metadata
import platform
from datetime import datetime
from pathlib import Path

_PACKAGES = ("hpcdistill", "numpy", "scipy", "jax", "jaxlib", "neural-tangents", "mpi4py", "cupy-cuda12x",
             "cupy-cuda13x", "jax-cuda12-plugin", "jax-cuda13-plugin")  # fmt: skip


def cpu_model() -> str:
    """Return the processor's name, or its architecture where the system does not tell. Not collective."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def device_of(backend: object) -> str:
    """Return the processor, and the instruction set that a backend says it was built for (attribute `target`)."""
    target = getattr(backend, "target", None)
    return f"{cpu_model()}, {target}" if isinstance(target, str) else cpu_model()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that are installed. Not collective."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return date and time with the offset from UTC, ISO 8601."""
    return datetime.now().astimezone().isoformat(timespec="seconds")
