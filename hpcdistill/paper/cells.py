"""The cells of the papers' tables, and the run that each stands for. The tables themselves are in tables.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from hpcdistill.config import Config, parse_config
from hpcdistill.data.registry import known_dataset
from hpcdistill.errors import ConfigError

#: Steps of the papers' KIP, and its other settings.
_STEPS = 10000
_PAPERS = {"loss": "squared_error", "batch": 5000, "learning_rate": 0.04, "label_learning_rate": 0.04,
           "schedule": "constant"}  # fmt: skip
#: Their augmentation; digits are not mirrored.
_AUGMENT = {"rotation": 10.0, "shift": 0.1, "channel_shift": 0.1}
_NOT_MIRRORED = ("mnist", "svhn")
#: Where a time is given: targets of a step at least, and steps between evaluations.
_SMALL_BATCH, _EVALUATE_EVERY = 250, 300
#: Networks on which cross-entropy gains nothing.
_FULLY_CONNECTED = ("FC1", "FC2", "FC3")


@dataclass(frozen=True)
class Row:
    """Runs that differ in the number of images alone.

    Attributes:
        table: in which they are.
        accuracy: published test accuracy in %, by images per class.
        also: other published figures for the same, by name.
        labels: "learned" or "fixed" (KIP).
        precision: as in the configuration; "" for its default.
        b_std: standard deviation of the biases; None for the default.
    """

    table: str
    dataset: str
    architecture: str
    accuracy: Mapping[str, float]
    also: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    method: str = ""
    zca: bool = False
    augment: bool = False
    labels: str = "learned"
    precision: str = ""
    b_std: float | None = None
    steps: int = _STEPS


@dataclass(frozen=True)
class Cell:
    """One published figure and its run.

    Attributes:
        name: of the cell in its table, and of its file in jobs/paper/TABLE.
        published: test accuracy in %.
        also: further published figures, by name.
    """

    row: Row
    images_per_class: int
    published: float
    also: Mapping[str, float]

    @property
    def method(self) -> str:
        """As in the configuration."""
        return self.row.method or ("label_solve" if self.row.table == "label-solve" else "kip")

    @property
    def name(self) -> str:
        """Name that tells it from others of its table."""
        method = [self.method.replace("_", "-")] if self.row.method else []
        words = [*method, self.row.dataset, self.row.architecture.lower(), *(["zca"] if self.row.zca else [])]
        return "-".join([*words, str(self.images_per_class)])

    def to_toml(self) -> str:
        """Return the run's configuration file: what differs from the defaults."""
        import tomli_w

        title = tables()[self.row.table]
        head = (f"# {title['title']}: {self.row.dataset}, {self.images_per_class} per class.\n"
                f"# Published test accuracy: {self.published} % ({title['source']}).\n")  # fmt: skip
        return head + tomli_w.dumps(self._settings())

    def config(self) -> Config:
        """Return the run's resolved configuration."""
        return parse_config(self.to_toml(), where=f"{self.row.table}/{self.name}")

    def within(self, hours: float) -> list[str]:
        """Return the settings with which KIP gets far in a time: ours in place of the papers'.

        Raises:
            ConfigError: it is no cell of KIP.
        """
        if self.method != "kip":
            raise ConfigError(f"{self.name}: --hours is for KIP, and this is {self.method}: leave it out.")
        settings = {"hours": hours, "schedule": "cosine", "evaluate_every": _EVALUATE_EVERY}
        if self.row.architecture not in _FULLY_CONNECTED:
            settings |= {"loss": "cross_entropy", "batch": max(_SMALL_BATCH, 2 * self.n_images),
                         "learning_rate": 0.05 if self.row.zca else 0.1}  # fmt: skip
        plain = [f"augment.{key}=0" for key in _AUGMENT] + ["augment.flip=false"] if self.row.augment else []
        return [*(f"kip.{key}={value}" for key, value in settings.items()), *plain]

    @property
    def n_images(self) -> int:
        """Size of the support."""
        return self.images_per_class * len(known_dataset(self.row.dataset).class_names)

    @property
    def measured(self) -> list[str]:
        """What was reached in a time, and on what, as texts."""
        found = [entry for entry in _read().get("measured", []) if entry["cell"] == f"{self.row.table}/{self.name}"]
        return [f"{entry['accuracy']} % in {entry['hours']:g} h on {entry['machine']}" for entry in found]

    def _settings(self) -> dict[str, Any]:
        row = self.row
        kernel: dict[str, Any] = {"architecture": row.architecture}
        kernel |= {"precision": row.precision} if row.precision else {}
        kernel |= {} if row.b_std is None else {"b_std": row.b_std}
        table: dict[str, Any] = {
            "method": self.method,
            "data": {"name": row.dataset},
            "support": {"images_per_class": self.images_per_class},
            "kernel": kernel,
        }
        if row.zca:
            table["preprocess"] = {"zca": True}
        if self.method == "kip":
            table["kip"] = {"steps": row.steps, **_PAPERS, "learn_labels": row.labels == "learned"}
        if row.augment:
            table["augment"] = _AUGMENT | {"flip": row.dataset not in _NOT_MIRRORED}
        return table


@cache
def tables() -> dict[str, dict[str, str]]:
    """Return title and source of each table by name."""
    return _read()["tables"]


@cache
def cells() -> tuple[Cell, ...]:
    """Return all cells, in the order of the tables."""
    rows = [Row(**row) for row in _read()["rows"]]
    return tuple(
        Cell(row, int(n), figure, {name: also[n] for name, also in row.also.items() if n in also})
        for row in rows
        for n, figure in row.accuracy.items()
    )


def cells_of(table: str) -> list[Cell]:
    """Return the cells of a table.

    Raises:
        ConfigError: there is no such table.
    """
    if table not in tables():
        raise ConfigError(f"there is no table {table!r}. Valid: {', '.join(tables())}.")
    return [cell for cell in cells() if cell.row.table == table]


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads((files("hpcdistill.paper") / "tables.toml").read_text(encoding="utf-8"))
