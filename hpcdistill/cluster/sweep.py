"""A sweep: every combination of the values of some keys."""

from __future__ import annotations

import itertools
import re
import tomllib
from dataclasses import dataclass

from hpcdistill.errors import ConfigError


@dataclass(frozen=True)
class Point:
    """One combination.

    Attributes:
        values: text of each key's value, by section.key.
        name: of its output folder.
    """

    values: dict[str, str]
    name: str

    @property
    def settings(self) -> list[str]:
        """As options of `--set`."""
        return [f"{key}={value}" for key, value in self.values.items()]


def expand_sweeps(sweeps: list[str]) -> list[Point]:
    """Return all points of `section.key=a,b,c` texts, the last key changing fastest; none for no sweeps.

    Raises:
        ConfigError: a text has another form; a key or a value comes twice; two points would have one name.
    """
    if not sweeps:
        return []
    axes: dict[str, list[str]] = {}
    for text in sweeps:
        key, values = _parse(text)
        if key in axes:
            raise ConfigError(f"--sweep {key} is given twice. Write all its values in one: {key}=a,b,c.")
        axes[key] = values
    labels = _labels(list(axes))
    points = []
    for combination in itertools.product(*axes.values()):
        point = dict(zip(axes, combination, strict=True))
        points.append(Point(point, ",".join(f"{labels[key]}={_plain(value)}" for key, value in point.items())))
    if len({point.name for point in points}) < len(points):
        raise ConfigError(f"--sweep {' --sweep '.join(sweeps)}: two points would have the same folder. "
                          "Use values whose letters and digits differ.")  # fmt: skip
    return points


def _parse(text: str) -> tuple[str, list[str]]:
    key, equals, listed = text.partition("=")
    key = key.strip()
    values = _split(listed) if equals and key else []
    if not values or not all(values):
        raise ConfigError(f"--sweep {text!r} must have the form section.key=a,b,c.")
    if len(set(values)) < len(values):
        raise ConfigError(f"--sweep {text!r} has a value twice.")
    return key, values


def _split(listed: str) -> list[str]:
    """Split at commas; a text that has some itself is written in quotes, as in TOML."""
    if '"' not in listed and "'" not in listed:
        return [value.strip() for value in listed.split(",")]
    try:
        values = tomllib.loads(f"values = [{listed}]")["values"]
    except tomllib.TOMLDecodeError:
        raise ConfigError(f"--sweep …={listed} is not a list of values. Quote all texts, or none.") from None
    return [str(value) for value in values]


def _labels(keys: list[str]) -> dict[str, str]:
    """Return the last part of each key, or the whole key where that is not enough to tell them apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return {key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)}


def _plain(value: str) -> str:
    """Return a value as part of a folder's name."""
    return re.sub(r"[^\w.+-]+", "-", value).strip("-")
