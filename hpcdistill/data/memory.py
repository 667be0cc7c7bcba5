"""How much memory this machine can still give. Not collective."""

from __future__ import annotations

from pathlib import Path

from hpcdistill.errors import ConfigError

_CGROUPS = Path("/sys/fs/cgroup")


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
    """Return what is left of the tightest cgroup (version 2) that this process is in."""
    try:
        own = Path("/proc/self/cgroup").read_text().strip().rpartition("::")[2].lstrip("/")
    except OSError:
        return None
    folder = _CGROUPS / own
    left = (_left(above) for above in (folder, *folder.parents) if above.is_relative_to(_CGROUPS))
    return min((n for n in left if n is not None), default=None)


def _left(cgroup: Path) -> int | None:
    try:
        return int((cgroup / "memory.max").read_text()) - int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):  # "max"
        return None


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / 2**30:.1f} GiB"
