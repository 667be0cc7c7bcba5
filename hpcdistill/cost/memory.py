"""What a rank needs of memory. Arithmetic alone."""

from __future__ import annotations

import re

from hpcdistill.errors import ConfigError

#: What a rank needs besides its arrays, relative to these, and in all.
OVERHEAD, BESIDES = 1.1, 1 << 29

_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def rank_memory(arrays: float) -> float:
    """Return the bytes that a rank needs that keeps arrays of so many bytes."""
    return OVERHEAD * arrays + BESIDES


def parse_memory(text: str) -> float:
    """Return bytes of a size as Slurm writes it: 64G, 64000M; megabytes without a unit.

    Raises:
        ConfigError: it is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([KMGT]?)B?", text.strip().upper())
    if found is None:
        raise ConfigError(f"resources.memory {text!r} is no size. Write it as 64G or 64000M.")
    return float(found[1]) * _UNITS[found[2] or "M"]
