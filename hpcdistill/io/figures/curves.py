"""Accuracy and loss: against steps, against draws, and against the number of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from hpcdistill.io.figures.style import COLOURS, GREY, MARKERS, new_figure, svg

#: Curves of more points than this have no marker at each.
_MOST_MARKERS = 60
#: Steps, and losses, are on a logarithmic axis where the largest is so many times the smallest.
_WIDE = 20


@dataclass(frozen=True)
class Series:
    """Figures to be drawn together.

    Attributes:
        name: in the legend.
        x, y: `(m,)`, of any type of number; accuracies in %.
        spread: `(m,)` or None: half the length of an error bar.
        context: whether it is there to compare with.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    spread: np.ndarray | None = None
    context: bool = False


def progress(accuracy: Sequence[Series], loss: Series | None, baselines: Sequence[tuple[str, float]]) -> bytes:
    """Return an SVG of accuracy in % and loss against steps.

    Args:
        accuracy: at least one.
        baselines: name and accuracy in %, as horizontal lines.
    """
    figure = new_figure(9 if loss else 6.5, 4.2)
    left, *right = figure.subplots(1, 2 if loss else 1, squeeze=False)[0]
    for i, series in enumerate(accuracy):
        _draw(left, series, i)
    for i, (name, value) in enumerate(baselines):
        left.axhline(value, color=GREY, linestyle=("--", ":", "-.")[i % 3], linewidth=1.4, label=name)
    left.set_ylabel("accuracy (%)")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3 if loss else 2)
    _step_axis(left, accuracy)
    if loss:
        _draw(right[0], loss, 0)
        right[0].set_ylabel("loss of the step's targets")
        if 0 < _WIDE * loss.y.min() <= loss.y.max():
            right[0].set_yscale("log")
        _step_axis(right[0], [loss])
    return svg(figure)


def _step_axis(axes: Axes, series: Sequence[Series]) -> None:
    steps = np.concatenate([one.x for one in series])
    positive = steps[steps > 0]
    axes.set_xlabel("step")
    axes.grid(axis="y", color="#e4e4e4", linewidth=0.7)
    axes.set_axisbelow(True)
    if len(positive) and positive.max() >= _WIDE * positive.min():
        axes.set_xscale("symlog", linthresh=positive.min())
        axes.set_xlim(left=steps.min())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))


def _draw(axes: Axes, series: Series, place: int) -> None:
    colour = GREY if series.context else COLOURS[place % len(COLOURS)]
    marker = MARKERS[place % len(MARKERS)] if len(series.x) <= _MOST_MARKERS else ""
    width, order = (1.0, 1) if series.context else (1.8, 2)
    axes.plot(series.x, series.y, color=colour, marker=marker, markersize=4, linewidth=width, zorder=order,
              label=series.name)  # fmt: skip


def draws(accuracies: np.ndarray) -> bytes:
    """Return an SVG of the accuracies in % of random draws, with their mean and, of several, standard deviation."""
    values, places = accuracies, np.arange(1, len(accuracies) + 1)
    figure = new_figure(6.5, 3.2)
    axes = figure.subplots()
    axes.plot(places, values, linestyle="", marker="o", color=COLOURS[0], label="one draw")
    axes.axhline(values.mean(), color=COLOURS[1], label="mean")
    if len(values) > 1:
        low, high = values.mean() - values.std(ddof=1), values.mean() + values.std(ddof=1)
        axes.axhspan(low, high, color=COLOURS[1], alpha=0.15, linewidth=0, label="± standard deviation")
    axes.set_xlabel("draw")
    axes.set_ylabel("test accuracy (%)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return svg(figure)


def accuracy_by_size(ours: Series, others: Sequence[Series]) -> bytes:
    """Return an SVG of test accuracy in % against images per class: this run's over natural images and the papers'."""
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    for i, series in enumerate(others):
        colour = GREY if series.context else COLOURS[(i + 1) % len(COLOURS)]
        axes.errorbar(series.x, series.y, series.spread, color=colour, marker=MARKERS[(i + 1) % len(MARKERS)],
                      markersize=5, linewidth=1.4, capsize=3, label=series.name)  # fmt: skip
    axes.errorbar(ours.x, ours.y, ours.spread, color=COLOURS[0], marker="*", markersize=15, linestyle="", capsize=3,
                  zorder=5, label=ours.name)  # fmt: skip
    axes.set_xscale("log")
    sizes = sorted({round(float(x), 3) for series in (ours, *others) for x in series.x})
    axes.set_xticks(_apart(sizes))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.1)
    axes.set_xlabel("images per class")
    axes.set_ylabel("test accuracy (%)")
    axes.grid(color="#e4e4e4", linewidth=0.7)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper")
    return svg(figure)


def against_setting(setting: str, values: np.ndarray, figures: Mapping[str, np.ndarray]) -> bytes:
    """Return an SVG of accuracies in %, and of losses, against a setting that spans orders of magnitude.

    Args:
        values: `(m,)`, not negative.
        figures: `(m,)` each, by name; accuracies, as fractions, are those whose name ends so.
    """
    accuracies = {name: 100 * column for name, column in figures.items() if name.endswith("accuracy")}
    losses = {name: column for name, column in figures.items() if name.endswith("loss")}
    figure = new_figure(9, 3.8)
    for axes, columns, title in zip(figure.subplots(1, 2), (accuracies, losses), ("accuracy (%)", "loss"), strict=True):
        for place, (name, column) in enumerate(columns.items()):
            _draw(axes, Series(name, values, column), place)
        axes.set_xscale("symlog", linthresh=values[values > 0].min(initial=1.0))
        axes.set_xlabel(setting)
        axes.set_ylabel(title)
        axes.grid(color="#e4e4e4", linewidth=0.7)
        axes.legend()
    return svg(figure)


def _apart(sizes: Sequence[float]) -> list[float]:
    """Return the sizes that can be written beside each other on a logarithmic axis."""
    kept: list[float] = []
    for size in sizes:
        if not kept or size >= 1.5 * kept[-1]:
            kept.append(size)
    return kept
