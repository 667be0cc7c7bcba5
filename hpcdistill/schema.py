"""Frozen dataclasses as the schema of TOML tables: types, choices, bounds and help of each key in one place.

A class is a section; its fields are made with `key`. What does not fit is a `ConfigError` that names the key and says
what would be valid.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import operator
import tomllib
import typing
from collections.abc import Mapping
from dataclasses import field
from typing import Any, TypeVar

import tomli_w

from hpcdistill.errors import ConfigError

SectionType = TypeVar("SectionType")


def key(
    default: Any,
    text: str,
    choices: tuple[str, ...] = (),
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> Any:
    """Return a dataclass field with a default, a line of help, and what values are valid.

    Types: int, float, str, bool; `tuple[str, ...]` and `tuple[float, ...]`, in TOML arrays of texts or numbers;
    `Mapping[str, str]`, a table of texts. Numbers with a bound (`minimum`, `maximum` may be reached, `above`, `below`
    not), and those of an array with bounds, must be finite.
    """
    bounds = {"at least": minimum, "above": above, "at most": maximum, "below": below}
    metadata = {"help": text, "choices": choices, "bounds": {k: b for k, b in bounds.items() if b is not None}}
    if isinstance(default, dict):
        return field(default_factory=lambda: dict(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def build(cls: type[SectionType], table: Any, prefix: str, where: str) -> SectionType:
    """Return the dataclass `cls` with the values of a TOML table; sections are built recursively.

    Args:
        prefix: of the keys, for messages: "" or "section.".
        where: name of the file, for messages.

    Raises:
        ConfigError: an unknown key, or a value of wrong type, choice or size.
    """
    if not isinstance(table, dict):
        raise ConfigError(f"{where}: {prefix.rstrip('.')!r} must be a section, not {table!r}.")
    hints, fields = typing.get_type_hints(cls), {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in table.items():
        if name not in fields:
            raise ConfigError(f"{where}: unknown key {prefix + name!r}{_hint(name, prefix, list(fields))}")
        if dataclasses.is_dataclass(hints[name]):
            values[name] = build(typing.cast(type, hints[name]), value, f"{prefix}{name}.", where)
        else:
            values[name] = _check_value(value, hints[name], fields[name].metadata, prefix + name, where)
    return cls(**values)


def _hint(name: str, prefix: str, valid: list[str]) -> str:
    close = difflib.get_close_matches(name, valid, n=1)
    guess = f" (did you mean {prefix + close[0]!r}?)" if close else ""
    return f"{guess}. Valid here: {', '.join(prefix + v for v in valid)}."


def _check_value(value: Any, kind: type, metadata: Mapping[str, Any], key: str, where: str) -> Any:
    if kind is float and type(value) is int:
        value = float(value)
    if kind == tuple[str, ...] and isinstance(value, list) and all(isinstance(text, str) for text in value):
        return tuple(value)
    if kind == tuple[float, ...] and isinstance(value, list) and all(type(x) in (int, float) for x in value):
        return tuple(_check_bounds(float(x), metadata, f"each number in {key}", where) for x in value)
    if kind == Mapping[str, str] and isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    if type(value) is not kind:
        raise ConfigError(f"{where}: {key} must be {_TYPE_NAMES[kind]}, not {value!r}.")
    if kind is int and abs(typing.cast(int, value)) >= 2**63:
        raise ConfigError(f"{where}: {key} must be below 2^63, not {value}.")
    if metadata["choices"] and value not in metadata["choices"]:
        raise ConfigError(f"{where}: {key} is {value!r}. Valid: {', '.join(metadata['choices'])}.")
    return _check_bounds(value, metadata, key, where)


def _check_bounds(value: Any, metadata: Mapping[str, Any], key: str, where: str) -> Any:
    bounds, number = metadata["bounds"], typing.cast(Any, value)
    if bounds and not (math.isfinite(number) and all(_WITHIN[k](number, b) for k, b in bounds.items())):
        wanted = " and ".join(f"{k} {b}" for k, b in bounds.items())
        raise ConfigError(f"{where}: {key} must be finite and {wanted}, not {value}.")
    return value


_WITHIN = {"at least": operator.ge, "above": operator.gt, "at most": operator.le, "below": operator.lt}


_TYPE_NAMES: dict[Any, str] = {
    int: "a whole number", float: "a number", str: "text", bool: "true or false",
    tuple[str, ...]: 'an array of texts, such as ["a", "b"]',
    tuple[float, ...]: "an array of numbers, such as [1e-6, 1e-3]",
    Mapping[str, str]: 'a table of texts, such as {A = "b"}',
}  # fmt: skip


def apply_setting(table: dict[str, Any], setting: str) -> None:
    """Put the value of a `section.key=value` text into a TOML table."""
    key, equals, text = setting.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {setting!r} must have the form section.key=value.")
    *sections, name = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {setting!r}: {section!r} is not a section.")
    table[name] = _parse_value(text.strip())


def _parse_value(text: str) -> Any:
    """Read a value as TOML would; what is no TOML value is a string, so quotes may be left out."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def describe_keys(cls: type) -> str:
    """Return a table of all keys with defaults and help, for `--help`."""
    lines = []
    for key, default, metadata in all_keys(cls):
        choices = f" ({' | '.join(metadata['choices'])})" if metadata["choices"] else ""
        lines.append(f"  {key:<26} {toml_value(default):<10} {metadata['help']}{choices}")
    return "\n".join(lines)


def all_keys(cls: type, prefix: str = "") -> typing.Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """Yield (section.key, default, metadata) of each key."""
    hints = typing.get_type_hints(cls)
    for f in dataclasses.fields(cls):
        if dataclasses.is_dataclass(hints[f.name]):
            yield from all_keys(typing.cast(type, hints[f.name]), f"{prefix}{f.name}.")
        else:
            default = f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
            yield prefix + f.name, default, f.metadata


def flatten(config: Any) -> dict[str, Any]:
    """Return the values of a configuration by section.key."""
    flat: dict[str, Any] = {}
    for key, _, _ in all_keys(type(config)):
        value: Any = config
        for part in key.split("."):
            value = getattr(value, part)
        flat[key] = value
    return flat


def toml_value(value: Any) -> str:
    """Return a value as TOML writes it, on a line."""
    if value == {}:
        return "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").strip()
