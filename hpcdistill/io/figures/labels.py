"""What was learned about labels: single ones beside what they started as, and how classes vary together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hpcdistill.io.figures.style import COLOURS, MOST_NAMES, name_classes, new_figure, plain, svg

#: Images whose labels are shown, in rows of so many; and classes of each where there are more than have names.
_MOST_IMAGES, _COLUMNS, _MOST_CLASSES = 6, 3, 12


@dataclass(frozen=True)
class Labels:
    """Labels of a support and what they started as.

    Attributes:
        learned, original: `(n, classes)` float64.
        images: `(n, h, w, c)` uint8, as they look.
        names: of the classes.
        verb: what was done to the labels: "learned".
    """

    learned: np.ndarray
    original: np.ndarray
    images: np.ndarray
    names: Sequence[str]
    verb: str


def label_bars(labels: Labels) -> bytes:
    """Return an SVG of up to six images, evenly spaced over the support, with learned and original label as bars.

    Of more than 20 classes the 12 with the largest learned label, in magnitude, are shown, the image's own among them.
    """
    n, classes = labels.learned.shape
    chosen = np.unique(np.linspace(0, n - 1, _MOST_IMAGES).round().astype(int))
    shown = classes if classes <= MOST_NAMES else _MOST_CLASSES
    columns = min(_COLUMNS, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = new_figure(2.8 * columns + 0.6, rows * (0.9 + 0.2 * shown) + 0.5)
    grid = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=[0.6, 0.2 * shown + 0.2] * rows)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, i in enumerate(chosen):
        row, column = divmod(place, columns)
        _show_image(grid[2 * row, column], labels.images[i], f"image {i + 1}")
        _show_label(grid[2 * row + 1, column], labels, i, _largest(labels, i, shown))
    _add_legend(figure, grid[1, 0])
    return svg(figure)


def _largest(labels: Labels, i: int, count: int) -> np.ndarray:
    """Return the classes to show of label `i`, ascending: its own, and those of largest magnitude."""
    weight = np.abs(labels.learned[i])
    weight[labels.original[i].argmax()] = np.inf
    return np.sort(np.argsort(-weight, kind="stable")[:count])


def _show_image(axes: Axes, image: np.ndarray, title: str) -> None:
    picture = image if image.shape[-1] == 3 else image.mean(axis=-1)
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_title(title)


def _show_label(axes: Axes, labels: Labels, i: int, classes: np.ndarray) -> None:
    axes.set_axis_on()
    places = np.arange(len(classes))
    axes.barh(places, labels.original[i, classes], 0.8, color="#d0d0d0", label="one-hot, centred")
    axes.barh(places, labels.learned[i, classes], 0.4, color=COLOURS[0], label=labels.verb)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(places, [plain(labels.names[k]) for k in classes], fontsize=9)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlabel("label", fontsize=9)
    axes.tick_params(labelsize=9)


def _add_legend(figure: Figure, axes: Axes) -> None:
    handles, words = axes.get_legend_handles_labels()
    figure.legend(handles, words, loc="outside upper center", ncols=len(words))


def label_covariance(labels: Labels) -> bytes:
    """Return an SVG of the covariance between classes, over the support, of original and of learned labels."""
    matrices = [_covariance(labels.original), _covariance(labels.learned)]
    limit = max(float(np.abs(matrix).max()) for matrix in matrices) or 1.0
    figure = new_figure(9, 4.2)
    both = figure.subplots(1, 2)
    for axes, matrix, title in zip(both, matrices, ("original labels", f"{labels.verb} labels"), strict=True):
        image = axes.imshow(matrix, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
        axes.set_title(title)
        name_classes(axes, labels.names)
    figure.colorbar(image, ax=both, label="covariance", shrink=0.85)
    return svg(figure)


def _covariance(labels: np.ndarray) -> np.ndarray:
    """Return `(classes, classes)`: the mean, over the support, of products of deviations from the mean label."""
    deviations = labels - labels.mean(axis=0)
    return deviations.T @ deviations / len(labels)
