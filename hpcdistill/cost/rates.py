"""How fast devices compute: those of a table that ships, and this one as it was measured. Not collective.

What was measured is kept in `$XDG_CACHE_HOME/hpcdistill/rates.json` (`~/.cache` by default), by processor.
"""

from __future__ import annotations

import json
import math
import os
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hpcdistill.errors import ConfigError
from hpcdistill.whole_file import whole_file

TABLE = Path(__file__).with_name("devices.toml")
#: A core, or a GPU: of what a device's speeds are.
CORE, GPU = "core", "GPU"


@dataclass(frozen=True)
class Speed:
    """Kernel entries per second: alone, and each with its gradient; and images that are made ready for it per second.

    Images are standardised and handed to the backend. Where that was not measured it counts as no time.
    """

    forward: float
    gradient: float
    images: float = math.inf


@dataclass(frozen=True)
class Device:
    """Speeds of a core or a GPU.

    Attributes:
        title: what it is called.
        unit: `CORE` or `GPU`.
        entries: by `kernel_name`.
        gflops: of dense algebra, 10⁹ operations per second, by type; none where that was not measured.
        date: when it was measured, ISO 8601.
        backend: the one that was measured, by name, if that is what a run there has without asking for it.
    """

    title: str
    unit: str
    entries: Mapping[str, Speed]
    gflops: Mapping[str, float]
    date: str
    backend: str = ""

    def speed(self, name: str) -> Speed:
        """Return the speed of a kernel.

        Raises:
            ConfigError: it was not measured.
        """
        known = name.removesuffix(f" {self.backend}")
        if known not in self.entries:
            raise ConfigError(
                f"{self.title}: {name} was not measured there. There are {', '.join(self.entries)}"
                f"{f', by backend {self.backend}' * bool(self.backend)}. Take kernel.backend=auto if it is another "
                "that is set, or leave out --device to measure on this machine."
            )
        return self.entries[known]


def kernel_name(network: str, kind: str, shape: tuple[int, int, int], dtype: str, backend: str = "auto") -> str:
    """Return by what the speed of a kernel is known, such as "ConvNet 32x32x3 float32"."""
    parts = [network, "x".join(map(str, shape)), dtype, kind * (kind != "ntk"), backend * (backend != "auto")]
    return " ".join(filter(None, parts))


def known_devices() -> dict[str, Device]:
    """Return the devices of the table by name."""
    return {name: _device(found) for name, found in tomllib.loads(TABLE.read_text()).items()}


def find_device(name: str) -> Device:
    """Return a device of the table.

    Raises:
        ConfigError: there is none of that name.
    """
    devices = known_devices()
    if name not in devices:
        there = ", ".join(f"{name} ({device.title})" for name, device in devices.items())
        raise ConfigError(f"--device {name!r} is unknown. Valid: here (this machine, measured), {there}.")
    return devices[name]


def rates_path() -> Path:
    """Return where measured speeds are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "hpcdistill" / "rates.json"


def kept_device(processor: str) -> Device | None:
    """Return what was measured on machines with this processor; None where nothing was, or it cannot be read."""
    found = _kept().get(processor)
    try:
        return None if found is None else _device(found)
    except (TypeError, KeyError, AttributeError):
        return None


def keep(processor: str, device: Device) -> None:
    """Keep what was measured, with what was measured before. Where it cannot be written it is measured again."""
    before = kept_device(processor)
    earlier = before.entries if before and before.unit == device.unit else {}
    entries = {name: asdict(speed) for name, speed in (dict(earlier) | dict(device.entries)).items()}
    merged = asdict(device) | {"entries": entries}
    try:
        rates_path().parent.mkdir(parents=True, exist_ok=True)
        with whole_file(rates_path()) as file:
            file.write(json.dumps(_kept() | {processor: merged}, indent=1).encode())
    except OSError:
        pass


def _kept() -> dict[str, Any]:
    try:
        found = json.loads(rates_path().read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _device(found: Mapping[str, Any]) -> Device:
    entries = {name: Speed(**speed) for name, speed in found["entries"].items()}
    return Device(found["title"], found["unit"], entries, found["gflops"], found["date"], found.get("backend", ""))
