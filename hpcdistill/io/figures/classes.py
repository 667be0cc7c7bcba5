"""Which classes are told apart: the confusion matrix and the accuracy of each class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hpcdistill.io.figures.style import COLOURS, name_classes, new_figure, plain, svg

#: Matrices of at most so many classes have a number in each cell.
_MOST_NUMBERS = 12
#: Of more classes than this, so many of the lowest and of the highest accuracy are shown.
_MOST_BARS, _EACH_END = 30, 12


def confusion_matrix(confusion: np.ndarray, names: Sequence[str]) -> bytes:
    """Return an SVG of a confusion matrix as shares of each true class.

    Args:
        confusion: `(classes, classes)` int64: images of the class of the row that were taken for the column's.
    """
    shares = 100 * confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    figure = new_figure(7, 5.8)
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=100, interpolation="nearest")
    name_classes(axes, names)
    axes.set_xlabel("predicted class" + (" (number)" if axes.get_xlabel() else ""))
    axes.set_ylabel("true class" + (" (number)" if axes.get_ylabel() else ""))
    if len(names) <= _MOST_NUMBERS:
        for (row, column), share in np.ndenumerate(shares):
            colour = "white" if share > 55 else "black"
            axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=9, color=colour)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.85)
    return svg(figure)


def class_accuracy(accuracy: np.ndarray, names: Sequence[str]) -> bytes:
    """Return an SVG of the accuracy of each class; of more than 30 the 12 lowest and 12 highest, lowest first.

    Args:
        accuracy: `(classes,)` in %, NaN for a class without test images.
    """
    shown = _ends(accuracy)
    places = np.arange(len(shown))
    figure = new_figure(6.5, 0.9 + 0.24 * len(shown))
    axes = figure.subplots()
    axes.barh(places, np.nan_to_num(accuracy[shown]), color=COLOURS[0])
    axes.set_yticks(places, [plain(names[k]) for k in shown])
    for place, value in zip(places, accuracy[shown], strict=True):
        words = "no test images" if np.isnan(value) else f"{value:.1f}"
        axes.text(float(np.nan_to_num(value)) + 1, float(place), words, va="center", fontsize=9)
    axes.set_xlim(0, 108)
    axes.set_xticks(range(0, 101, 20))
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlabel("test accuracy (%)")
    return svg(figure)


def _ends(accuracy: np.ndarray) -> np.ndarray:
    if len(accuracy) <= _MOST_BARS:
        return np.arange(len(accuracy))
    known = np.flatnonzero(np.isfinite(accuracy))
    order = known[np.argsort(accuracy[known], kind="stable")]
    return order if len(order) <= 2 * _EACH_END else np.concatenate([order[:_EACH_END], order[-_EACH_END:]])
