"""What all charts have in common: fonts, colours that colour-blind readers can tell apart, names on axes, SVG."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Colours of Okabe and Ito (Color Universal Design), in the order they are used; and a grey for what is context.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
GREY = "#8a8a8a"
MARKERS = "osD^vP"
#: Between more classes than this no chart writes all names.
MOST_NAMES = 20
_LONGEST_NAME = 16
_SETTINGS: dict[Any, Any] = {
    "svg.hashsalt": "hpcdistill",
    "text.usetex": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
}


@contextmanager
def house_style() -> Iterator[None]:
    """Draw with this project's settings within, and with whatever was set before after it."""
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # of class names in other scripts
        warnings.filterwarnings("ignore", category=RuntimeWarning)  # of values beyond what an axis can show
        yield


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of so many inches whose parts make room for each other."""
    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: Figure) -> bytes:
    """Return a figure as SVG, letters as outlines; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def plain(name: str) -> str:
    """Return a name from a file as it is to be drawn: without its middle if long, and no formula whatever is in it."""
    short = name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME // 2]}…{name[1 - _LONGEST_NAME // 2 :]}"
    return short.replace("$", r"\$")


def name_classes(axes: Axes, names: Sequence[str]) -> None:
    """Write class names at both axes of a matrix, or nothing but numbers where there are too many."""
    if len(names) > MOST_NAMES:
        axes.set_xlabel("class number")
        axes.set_ylabel("class number")
        return
    shown = [plain(name) for name in names]
    upright = max(len(name) for name in shown) <= 2
    axes.set_xticks(range(len(names)), shown, rotation=0 if upright else 90)
    axes.set_yticks(range(len(names)), shown)
