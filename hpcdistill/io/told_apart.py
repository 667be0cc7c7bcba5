"""Settings by which checkpoints differ that look alike in a table."""

from __future__ import annotations

import tomllib
from collections.abc import Hashable, Sequence
from typing import Any

#: Settings that say where a run reads and writes, or how often: they make no difference to what it is of.
_ASIDE = ("data.root", "checkpoint.", "kip.evaluate_every")


def settings_apart(rows: Sequence[Hashable], configurations: Sequence[str]) -> dict[str, list[str]]:
    """Return settings, each with its value in every configuration ("" where it has none), that tell equal rows apart.

    Args:
        rows: what a table has of each checkpoint.
        configurations: of each checkpoint, as TOML.
    """
    settings = [_by_key(tomllib.loads(text)) for text in configurations]
    apart: dict[str, None] = {}
    for row in dict.fromkeys(rows):
        alike = [one for one, its_row in zip(settings, rows, strict=True) if its_row == row]
        keys = dict.fromkeys(key for one in alike for key in one)
        apart |= {key: None for key in keys if len({str(one.get(key)) for one in alike}) > 1}
    return {key: [_as_text(one.get(key, "")) for one in settings] for key in apart if not key.startswith(_ASIDE)}


def _by_key(configuration: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in configuration.items():
        flat |= {f"{name}.{key}": one for key, one in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def _as_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
