"""From samples of steps to the rows and the table of `bench step`. Arithmetic alone: nothing is measured here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median
from typing import Any

from hpcdistill.bench.report import figure
from hpcdistill.io.exchanged import size_in_words

HEADINGS = (
    "images",
    "targets",
    "ranks",
    "threads/rank",
    "s/step",
    "speed-up",
    "kernel",
    "Allreduce",
    "Bcast",
    "small",
    "all",
)


@dataclass(frozen=True)
class StepSample:
    """What one step took one rank.

    Attributes:
        seconds: of the whole step.
        kernel_seconds: of those, in the kernel backends.
        collectives: `{name: {"calls": …, "bytes": …}}`, see `mpi.traffic`.
    """

    seconds: float
    kernel_seconds: float
    collectives: dict[str, dict[str, int]]


def step_rows(samples: dict[int, list[list[StepSample]]], facts: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row per number of ranks: `facts`, and medians over the rounds.

    Args:
        samples: by number of ranks, for each round the samples of all those ranks; 1 is among them.
        facts: what is the same for all rows.

    A step takes as long as its slowest rank; so does its kernel part. Collectives are rank 0's in the last round.
    """
    rows = []
    alone = median(_seconds(step) for step in samples[1])
    for ranks, steps in samples.items():
        seconds = median(_seconds(step) for step in steps)
        share = median(max(one.kernel_seconds for one in step) / _seconds(step) for step in steps)
        figures = {"ranks": ranks, "seconds_per_step": seconds, "speed_up": alone / seconds, "kernel_share": share,
                   "collectives": steps[-1][0].collectives}  # fmt: skip
        rows.append(facts | figures)
    return rows


def step_table(rows: list[dict[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Yield the cells below `HEADINGS`; messages as calls and bytes per step, agreements and objects together."""
    for row in rows:
        traffic = row["collectives"]
        yield (
            str(row["images"]),
            str(row["targets"]),
            str(row["ranks"]),
            str(row["threads"]),
            figure(row["seconds_per_step"]),
            figure(row["speed_up"]),
            f"{row['kernel_share']:.1%}",
            _messages(traffic, ["Allreduce"]),
            _messages(traffic, ["Bcast"]),
            _messages(traffic, [name for name in traffic if name.islower()]),
            _messages(traffic, list(traffic)),
        )


def _seconds(step: list[StepSample]) -> float:
    return max(one.seconds for one in step)


def _messages(traffic: dict[str, dict[str, int]], names: list[str]) -> str:
    calls, n_bytes = (sum(traffic[name][what] for name in names if name in traffic) for what in ("calls", "bytes"))
    return f"{calls}×, {size_in_words(n_bytes)}"
