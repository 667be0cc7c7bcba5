"""How much memory this machine can still give. Not collective."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from hpcdistill.errors import ConfigError

_CGROUPS, _OWN_CGROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def available_bytes() -> int | None:
    """Return what the node, and the limit of the job on it, leave to this process; None where nobody says."""
    return min((n for n in (_of_node(), _of_job()) if n is not None), default=None)


def check_memory(n_bytes: int, what: str, remedy: str) -> None:
    """Raise `ConfigError` if `n_bytes` are more than there are.

    Args:
        what: what wants them, and how much: "ZCA of 3072 features on 4 ranks of a node".
        remedy: what to do instead.
    """
    available = available_bytes()
    if available is not None and n_bytes > available:
        raise ConfigError(f"{what} needs {_gib(n_bytes)}, and {_gib(available)} are free. {remedy}")


def _of_node() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration, ValueError):
        return None


def _of_job() -> int | None:
    """Return what is left of the tightest cgroup, of version 2 or 1, that this process is in."""
    try:
        lines = _OWN_CGROUPS.read_text().splitlines()
    except OSError:
        return None
    left = [n for line in lines if line.count(":") >= 2 for n in _left_above(*line.split(":", 2)[1:]) if n is not None]
    return min(left, default=None)


def _left_above(controllers: str, path: str) -> Iterator[int | None]:
    """Yield what is left of a cgroup and of those that it is in, as a line of /proc/self/cgroup names it."""
    if controllers == "":
        root, names = _CGROUPS, ("memory.max", "memory.current")
    elif "memory" in controllers.split(","):
        root, names = _CGROUPS / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes")
    else:
        return
    folder = root / path.lstrip("/")
    for above in (folder, *folder.parents):
        if above.is_relative_to(root):
            yield _left(above, *names)


def _left(cgroup: Path, limit: str, used: str) -> int | None:
    try:
        return int((cgroup / limit).read_text()) - int((cgroup / used).read_text())
    except (OSError, ValueError):  # "max"
        return None


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
