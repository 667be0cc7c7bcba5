"""The charts: what is in them, read back from the SVG or from matplotlib itself; nothing is cut off or overlaps."""

import io
import itertools
import sys
import xml.etree.ElementTree as ET

import matplotlib
import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image
from reports import make_checkpoint

from hpcdistill.io.export import contact_sheet, export_png
from hpcdistill.io.figures import classes, curves, labels, style
from hpcdistill.io.figures.curves import Series

LONG = [f"an extraordinarily long class name {k}" for k in range(10)]


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, in place of their SVG."""
    figures = []

    def keep(figure):
        FigureCanvasAgg(figure).draw()
        figures.append(figure)
        return style.svg(figure)

    for module in (classes, curves, labels):
        monkeypatch.setattr(module, "svg", keep)
    with style.house_style():
        yield figures


def texts_inside(figure):
    """Fail if a text leaves the figure or, of one axis, tick labels overlap; return the texts."""
    renderer, found = FigureCanvasAgg(figure).get_renderer(), []
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis) if axes.axison else ():
            labels_of = [(tick.label1, tick.label2) for tick in axis.get_major_ticks() if in_view(tick, axis)]
            shown = [text for both in labels_of for text in both if text.get_visible() and text.get_text()]
            boxes = [text.get_window_extent(renderer) for text in shown]
            for one, other in itertools.pairwise(boxes):
                assert not one.shrunk(0.9, 0.9).overlaps(other.shrunk(0.9, 0.9)), [text.get_text() for text in shown]
            found += zip(shown, boxes, strict=True)
    for text, box in found:
        assert box.x0 >= -1, text
        assert box.y0 >= -1, text
        assert box.x1 <= figure.bbox.x1 + 1, text
        assert box.y1 <= figure.bbox.y1 + 1, text
    return [text.get_text() for text, _ in found]


def in_view(tick, axis):
    low, high = sorted(axis.get_view_interval())
    return low <= tick.get_loc() <= high


def some_labels(names, n=12):
    rng = np.random.default_rng(0)
    original = np.eye(len(names))[np.arange(n) % len(names)] - 1 / len(names)
    learned = original + 0.2 * rng.standard_normal(original.shape)
    return labels.Labels(learned, original, np.zeros((n, 4, 4, 1), np.uint8), names, "learned")


def test_svg_is_the_same_each_time_and_settings_come_back():
    before = [matplotlib.rcParams[key] for key in style._SETTINGS]
    pictures = set()
    for _ in range(2):
        with style.house_style():
            pictures.add(classes.class_accuracy(np.array([50.0, 70.0]), ["a", "b"]))
    (picture,) = pictures
    assert ET.fromstring(picture).tag.endswith("svg")
    assert [matplotlib.rcParams[key] for key in style._SETTINGS] == before
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize("names", [LONG, list("0123456789"), ["only"], [f"class {k}" for k in range(100)]], ids=len)
def test_names_fit(drawn, names):
    labels.label_bars(some_labels(names))
    labels.label_covariance(some_labels(names))
    classes.confusion_matrix(np.eye(len(names), dtype=int), names)
    classes.class_accuracy(np.linspace(0, 100, len(names)), names)
    for figure in drawn:
        texts_inside(figure)


def test_names_are_told_apart_and_are_no_formulas(drawn):
    names = [*LONG[:8], "$\\frac{x", "$1 and $2"]
    classes.class_accuracy(np.full(10, 50.0), names)
    shown = [text.replace("\\$", "$") for text in texts_inside(drawn[0])]
    assert {"$\\frac{x", "$1 and $2"} <= set(shown)
    assert len({text for text in shown if "…" in text}) == 8


def test_bars_are_the_labels(drawn):
    given = some_labels(["a", "b", "c"], n=2)
    labels.label_bars(given)
    charts = [axes for axes in drawn[0].axes if axes.patches]
    assert len(charts) == 2
    for axes, original, learned in zip(charts, given.original, given.learned, strict=True):
        widths = [bar.get_width() for bar in axes.patches]
        np.testing.assert_allclose(widths, [*original, *learned])


def test_of_many_classes_the_own_one_is_shown(drawn):
    given = some_labels([f"c{k}" for k in range(50)], n=50)
    given.learned[0, 0] = 0.0
    before = given.learned.copy()
    labels.label_bars(given)
    chart = next(axes for axes in drawn[0].axes if axes.patches)
    assert chart.get_yticklabels()[0].get_text() == "c0"
    assert len(chart.get_yticklabels()) == 12
    np.testing.assert_array_equal(given.learned, before)


def test_covariance_has_one_scale_about_zero(drawn):
    given = some_labels(["a", "b", "c"], n=9)
    labels.label_covariance(given)
    images = [axes.images[0] for axes in drawn[0].axes if axes.images]
    for image, values in zip(images, (given.original, given.learned), strict=False):
        np.testing.assert_allclose(image.get_array(), np.cov(values.T, bias=True))
    assert images[0].get_clim() == images[1].get_clim()
    assert sum(images[0].get_clim()) == 0


def test_many_steps_are_on_a_logarithmic_axis_and_few_are_not(drawn):
    for last, scale in ((1000, "symlog"), (10, "linear")):
        steps = np.arange(last + 1)
        curves.progress([Series("test", steps, 50 + 0 * steps)], None, [("10 natural images", 30.0)])
        axes = drawn[-1].axes[0]
        assert axes.get_xscale() == scale
        assert [line.get_label() for line in axes.lines] == ["test", "10 natural images"]
        texts_inside(drawn[-1])


def test_loss_is_logarithmic_where_it_falls_far(drawn):
    for last, scale in ((0.001, "log"), (0.04, "linear"), (0.0, "linear")):
        series = Series("test", np.arange(3), np.full(3, 50.0))
        curves.progress([series], Series("loss", np.arange(3), np.array([0.05, 0.045, last])), [])
        assert drawn[-1].axes[1].get_yscale() == scale


def test_sizes_close_together_share_a_tick(drawn):
    ours = Series("this run", np.array([1.0]), np.array([60.0]))
    others = [Series("natural", np.array([1.0, 10.0, 11.0, 1000.0]), np.arange(4.0), np.ones(4), context=True)]
    curves.accuracy_by_size(ours, others)
    texts_inside(drawn[0])
    assert [text.get_text() for text in drawn[0].axes[0].get_xticklabels()] == ["1", "10", "1,000"]


def test_confusion_is_in_shares_of_the_true_class(drawn):
    confusion = np.array([[3, 1], [0, 0]])
    classes.confusion_matrix(confusion, ["a", "b"])
    np.testing.assert_allclose(drawn[0].axes[0].images[0].get_array(), [[75, 25], [0, 0]])
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["75", "25", "0", "0"]


def test_of_many_classes_the_worst_and_the_best_are_shown(drawn):
    accuracy = np.random.default_rng(0).permutation(100).astype(float)
    accuracy[accuracy == 50] = np.nan
    classes.class_accuracy(accuracy, [f"c{k}" for k in range(100)])
    widths = [bar.get_width() for bar in drawn[0].axes[0].patches]
    assert widths == [*range(12), *range(88, 100)]


@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet_shows_both_halves_and_whole_titles(channels):
    checkpoint = make_checkpoint("kip", ("a",), channels, 1)
    buffer = io.BytesIO()
    export_png(checkpoint, buffer)
    sheet = Image.open(buffer)
    assert sheet.width > 110  # one image is 64 pixels wide, its title more
    titles = {"initial_display": "above", "images_display": "below"}
    both, one = contact_sheet(checkpoint, titles), contact_sheet(checkpoint, {"images_display": "below"})
    assert both.height == 2 * one.height
    lower = np.asarray(both)[one.height :, : one.width]
    np.testing.assert_array_equal(lower, np.asarray(one))
    assert (np.ptp(np.asarray(sheet).astype(int), axis=-1).max() > 0) == (channels == 3)
