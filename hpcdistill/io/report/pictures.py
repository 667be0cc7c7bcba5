"""The pictures of a report: each from a checkpoint's facts and measurements, or "" where there is nothing to show."""

from __future__ import annotations

import io
from collections.abc import Mapping

import numpy as np

from hpcdistill.io.export import contact_sheet
from hpcdistill.io.figures.classes import class_accuracy, confusion_matrix
from hpcdistill.io.figures.curves import Series, accuracy_by_size, against_setting, draws, progress
from hpcdistill.io.figures.labels import Labels, label_bars, label_covariance
from hpcdistill.io.report.facts import Facts
from hpcdistill.io.report.html import chart, chart_with_photographs, photograph
from hpcdistill.io.report.typed_records import Draws, Measurements
from hpcdistill.io.support_origin import support_start

#: Published figures, in %, by images per class, by the name of who published them.
Published = Mapping[str, Mapping[int, float]]


def images(facts: Facts) -> str:
    """Return the support's images, below those that they grew from where they were learned."""
    start = support_start(facts.checkpoint)
    if facts.method.learns_images:
        titles = {"initial_display": start, "images_display": f"distilled, step {facts.step}"}
        caption = f"Above, what the run started from ({start}); below, what each has become after {facts.step} steps."
    else:
        titles = {"images_display": "natural images"}
        caption = "The support: training images as they are" + (", of the last draw." if facts.draws > 1 else ".")
    buffer = io.BytesIO()
    contact_sheet(facts.checkpoint, titles).save(buffer, format="PNG")
    return photograph(buffer.getvalue(), "Images", f"{caption} Below each image the class that it is of.")


def labels(facts: Facts) -> str:
    """Return single labels, and the covariance between classes, beside those of the labels that they started as."""
    if not facts.labels_changed:
        return ""
    verb = facts.method.labels
    now = facts.checkpoint.images("support/images_display")
    shown = Labels(facts.labels, facts.original_labels, now, facts.class_names, verb)
    single = f"What the label of an image says of each class: {verb} (blue), and as it was (grey)."
    together = "Covariance between classes over all labels of the support, both on one colour scale."
    return chart_with_photographs(label_bars(shown), "Labels", single) + chart(
        label_covariance(shown), "Labels together", together
    )


def course(facts: Facts, measured: Measurements) -> str:
    """Return how accuracy and loss changed over the steps, or the accuracies of random draws."""
    if facts.draws > 1:
        accuracies = 100 * facts.measured("test_accuracy")[1]
        caption = "Test accuracy of each random draw of natural images."
        return chart(draws(accuracies), "Draws", caption)
    words = {"train_accuracy": "of the step's targets", "validation_accuracy": "validation", "test_accuracy": "test"}
    series = [_series(facts, name, word) for name, word in words.items()]
    curves = [one for one in series[::-1] if len(one.x) > 1]
    if not curves:
        return ""
    steps, values = facts.measured("loss")
    loss = Series("loss", steps, values) if len(steps) > 1 else None
    baselines = [(_name(draw), 100 * draw.mean) for draw in _same_size(facts, measured)]
    caption = (
        "Steps that were measured. Accuracy and loss of a step's targets are those before its update. "
        f"{facts.loss_in_words}"
    ).rstrip()
    return chart(progress(curves, loss, baselines), "Over the steps", caption)


def _series(facts: Facts, column: str, name: str) -> Series:
    steps, values = facts.measured(column)
    return Series(name, steps, 100 * values, context=column == "train_accuracy")


def _same_size(facts: Facts, measured: Measurements) -> list[Draws]:
    """Return the natural images that were measured with the run's kernel, as many as the support and all others."""
    own = [draw for draw in measured.natural if draw.kernel == facts.kernel]
    return sorted((draw for draw in own if draw.images >= len(facts.labels)), key=lambda draw: draw.images)[:3]


def _name(draw: Draws) -> str:
    return f"{draw.images:,} natural images"


def sweep(facts: Facts) -> str:
    """Return accuracy and loss against the setting of which a run has measured several values."""
    found = facts.method.sweep(facts.checkpoint.arrays)
    if found is None or len(found.values) < 2 or not any(name.endswith("accuracy") for name in found.figures):
        return ""
    caption = f"Accuracy and loss against the {found.setting}, from one kernel."
    return chart(against_setting(found.setting, found.values, found.figures), f"Each {found.setting}", caption)


def sizes(facts: Facts, measured: Measurements, published: Published) -> str:
    """Return test accuracy against images per class: this run's, natural images', the papers'."""
    if facts.accuracy is None:
        return ""
    classes, others = len(facts.class_names), []
    natural = sorted((draw for draw in measured.natural if draw.kernel == facts.kernel), key=lambda draw: draw.images)
    if natural:
        figures = np.array([(draw.images / classes, 100 * draw.mean, 100 * (draw.spread or 0)) for draw in natural])
        others.append(Series("natural images", figures[:, 0], figures[:, 1], figures[:, 2], context=True))
    others += [Series(name, np.array(list(line)), np.array(list(line.values()))) for name, line in published.items()]
    if not others:
        return ""
    spread = None if facts.spread is None else np.array([100 * facts.spread])
    ours = Series("this run", np.array([facts.images_per_class]), np.array([100 * facts.accuracy]), spread)
    caption = "Bars are standard deviations over draws." + (
        " Published figures are for the same setting." if published else ""
    )
    return chart(accuracy_by_size(ours, others), "Against the number of images", caption)


def classes(facts: Facts, measured: Measurements) -> str:
    """Return confusion matrix and accuracy of each class with the run's own kernel, as `evaluate` has counted them."""
    own = next((one for one in measured.distilled if one.kernel == facts.kernel), None)
    if own is None:
        return ""
    parts, of = [], f"{own.kernel}, {own.test_images:,} test images"
    if own.confusion is not None:
        caption = f"{of}. Each row is what the images of one class were taken for, in % of that class."
        parts.append(chart(confusion_matrix(own.confusion, facts.class_names), "Confusion matrix", caption))
    if own.per_class is not None and np.isfinite(own.per_class).any():
        ends = " The 12 lowest and 12 highest." if len(own.per_class) > 30 else ""
        picture = class_accuracy(100 * own.per_class, facts.class_names)
        mean = f" Their mean, the balanced accuracy, is {np.nanmean(own.per_class):.2%}."
        parts.append(chart(picture, "Accuracy of each class", f"{of}.{ends}{mean}"))
    return "".join(parts)
