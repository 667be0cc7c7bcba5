"""Tiles of kernel files: how large they are."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

from hpcdistill.errors import ConfigError

#: A tile of the ConvNet takes a core a quarter of a minute: what is lost when a rank is killed.
DEFAULT_TILE = 256
#: HDF5's chunks are smaller than 4 GiB.
LARGEST_TILE = 1 << 14
#: More tiles would take longer to tell from each other than to compute.
MOST_TILES = 1 << 22


def grid_of(shape: Sequence[int], tile: int) -> tuple[int, int]:
    """Return the number of tiles along rows and columns."""
    return -(-shape[0] // tile), -(-shape[1] // tile)


def chunk_of(shape: Sequence[int], tile: int) -> tuple[int, int]:
    """Return the shape of a tile in the file."""
    return min(tile, shape[0]), min(tile, shape[1])


def check_side(tile: Any, name: str = "tile") -> int:
    """Return the side of tiles as a number; `ConfigError` where it can be none. Not collective."""
    try:
        side = 0 if isinstance(tile, bool) else operator.index(tile)
    except TypeError:
        side = 0
    if not 1 <= side <= LARGEST_TILE:
        raise ConfigError(f"{name} must be a whole number from 1 to {LARGEST_TILE}, not {tile!r}.")
    return side


def check_count(tile: int, shape: tuple[int, int], name: str = "tile") -> None:
    """Raise `ConfigError` where a matrix of a shape would have too many tiles of this side. Not collective."""
    count = math.prod(grid_of(shape, tile))
    if count > MOST_TILES:
        raise ConfigError(
            f"{name}={tile} cuts a kernel of {shape[0]} × {shape[1]} into {count} tiles. Give larger ones: at most "
            f"{MOST_TILES} are possible."
        )
