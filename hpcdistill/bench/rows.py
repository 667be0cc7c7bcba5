"""From seconds to the rows and the table of `bench kernels`. Arithmetic alone: nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from hpcdistill.bench.cases import Case
from hpcdistill.bench.report import figure

ROW_KEYS = (
    "backend",
    "architecture",
    "shape",
    "dtype",
    "operation",
    "threads",
    "entries_per_second",
    "seconds_per_entry",
    "ratio_to_neural_tangents",
    "device",
    "date",
)
HEADINGS = ("architecture", "shape", "operation", "dtype", "threads", "backend", "ms/entry", "entries/s",
            "× neural-tangents", "× 1 thread", "× float32")  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Rounds of one backend.

    Attributes:
        backend, dtype: names.
        pairs: rows and columns of the block of a round.
        seconds: of each round.
        device: what computed it.
    """

    backend: str
    dtype: str
    pairs: tuple[int, int]
    seconds: list[float]
    device: str

    @property
    def seconds_per_entry(self) -> float:
        """Median over the rounds."""
        return median(self.seconds) / (self.pairs[0] * self.pairs[1])


def kernel_rows(
    case: Case, operation: str, threads: int, ours: list[Measured], peers: list[Measured], date: str
) -> list[dict[str, Any]]:
    """Return a row for each measurement, the peers' own last; keys as in `ROW_KEYS`.

    `ratio_to_neural_tangents` is how many times as many entries per second as the fastest peer; None without one.
    """
    rows = []
    fastest = min((peer.seconds_per_entry for peer in peers), default=None)
    for measured in [*ours, *peers]:
        seconds = measured.seconds_per_entry
        values = (measured.backend, case.architecture, case.shape_text, measured.dtype, operation, threads,
                  1 / seconds, seconds, fastest / seconds if fastest else None, measured.device, date)  # fmt: skip
        rows.append(dict(zip(ROW_KEYS, values, strict=True)))
    return rows


def kernel_table(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the cells below `HEADINGS`, a dash where there is nothing to compare with."""
    for row in rows:
        yield (
            row["architecture"],
            row["shape"],
            row["operation"],
            row["dtype"],
            str(row["threads"]),
            row["backend"],
            figure(row["seconds_per_entry"] * 1e3),
            figure(row["entries_per_second"]),
            figure(row["ratio_to_neural_tangents"]),
            figure(_against(rows, row, threads=1)),
            figure(_against(rows, row, dtype="float32")),
        )


def _against(rows: list[dict[str, Any]], row: dict[str, Any], **changed: Any) -> float | None:
    """Return the speed relative to the row that differs in `changed` alone; None where that was not measured."""
    keys = ("backend", "architecture", "shape", "dtype", "operation", "threads")
    wanted = {key: row[key] for key in keys} | changed
    other = next((r for r in rows if all(r[key] == value for key, value in wanted.items())), None)
    return other["seconds_per_entry"] / row["seconds_per_entry"] if other else None
