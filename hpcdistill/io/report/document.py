"""The report: what a run was, what it reached, beside what is published, in one HTML file that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.exchanged import ATTRIBUTE, IN_WORDS, Exchanged, size_in_words
from hpcdistill.io.figures.style import house_style
from hpcdistill.io.report import pictures
from hpcdistill.io.report.facts import Facts
from hpcdistill.io.report.html import facts_table, page, paragraph, preformatted, section, table
from hpcdistill.io.report.pictures import Published
from hpcdistill.io.report.typed_records import Measurements, measurements

#: Attributes that are shown elsewhere in the report, or say nothing to a reader.
_ELSEWHERE = ("config", "class_names", "complete", "method", "dataset", "architecture", "step", ATTRIBUTE)


def report(checkpoint: Checkpoint, records: Sequence[dict[str, Any]], published: Published) -> str:
    """Return a report on a checkpoint as HTML. The same input gives the same text.

    Args:
        records: of `OUTPUT/evaluations`; those of other supports are left out.
        published: test accuracies in % of runs like this one, by name and images per class.

    Raises:
        CheckpointError: an array, or an attribute, is missing; a record is damaged.
    """
    facts = Facts(checkpoint)
    measured = measurements(records, facts)
    with house_style():
        parts = [
            section("Result", _summary(facts), _beside_published(facts, published)),
            section("Images", pictures.images(facts)),
            section("Labels", pictures.labels(facts) or paragraph(_why_no_labels(facts))),
            section("Course of the run", pictures.course(facts, measured)),
            section("Ridges", pictures.sweep(facts), _sweep_table(facts)),
            section("Number of images", pictures.sizes(facts, measured, published), _natural_table(facts, measured)),
            section("Other networks", _kernels_table(measured), _transfer_table(measured)),
            section("Classes", pictures.classes(facts, measured)),
            section("Exchanged by the ranks", _exchanged(facts)),
        ]
    parts += [section("Configuration", preformatted(str(facts.attribute("config")))), section("Origin", _origin(facts))]
    return page(facts.title, f"{facts.kernel}. Written by hpcdistill {facts.attribute('hpcdistill_version')}.", parts)


def _summary(facts: Facts) -> str:
    height, width, channels = facts.checkpoint.images("support/images_display").shape[1:]
    n, classes = facts.labels.shape
    rows = [
        ("data set", f"{facts.attribute('dataset')}: images of {height}×{width}×{channels}"),
        ("classes", str(classes)),
        ("method", facts.method.title),
        ("network", f"{facts.kernel}, infinitely wide"),
        ("preprocessing", "standardised, ZCA" if facts.setting("preprocess", "zca", False) else "standardised"),
        ("images", f"{n} ({facts.images_per_class:.4g} per class)"),
        ("steps", str(facts.step)) if facts.method.learns_images else ("", ""),
        *_accuracies(facts),
        ("time", _duration(float(np.max(facts.measured("seconds")[1], initial=0.0)))),
    ]
    return facts_table([row for row in rows if row[0]])


def _accuracies(facts: Facts) -> list[tuple[str, str]]:
    steps, values = facts.measured("test_accuracy")
    if facts.accuracy is None:
        return [("test accuracy", "not measured: the data set has no test split, or the run had not come to it")]
    if facts.draws > 1:
        return [("test accuracy", f"{_percent(facts.accuracy, facts.spread)} (draws: {facts.draws})")]
    rows = [("test accuracy", f"{facts.accuracy:.2%}" + (f" (step {steps[-1]})" if facts.method.learns_images else ""))]
    if len(values) > 1:
        best = int(values.argmax())
        rows.append(("highest on the way", f"{values[best]:.2%} (step {steps[best]})"))
    return rows


def _percent(mean: float, spread: float | None) -> str:
    return f"{mean:.2%}" + ("" if spread is None else f" ± {spread:.2%}")


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.1f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _beside_published(facts: Facts, published: Published) -> str:
    per_class, ours = round(facts.images_per_class), facts.accuracy
    if ours is None or per_class != facts.images_per_class:
        return ""
    rows = [
        (name, f"{line[per_class]:.2f}%", f"{ours:.2%}", f"{100 * ours - line[per_class]:+.2f}".replace("-", "−"))
        for name, line in published.items()
        if per_class in line
    ]
    caption = "Test accuracy published for the same setting, and of this run"
    return table(caption, ("published by", "published", "this run", "difference (points)"), rows)


def _why_no_labels(facts: Facts) -> str:
    if not facts.method.labels:
        return "Natural images with the labels of their classes: one-hot, centred."
    return "The labels are those that the run started with."


def _sweep_table(facts: Facts) -> str:
    sweep = facts.method.sweep(facts.checkpoint.arrays)
    if sweep is None:
        return ""
    rows = [sweep.cells(i) for i in range(len(sweep.values))]
    return table(f"Figures at each {sweep.setting}, all from one kernel", (sweep.setting, *sweep.figures), rows)


def _natural_table(facts: Facts, measured: Measurements) -> str:
    classes = len(facts.class_names)
    rows = [
        (f"{draw.images:,}", f"{draw.images / classes:,.4g}", draw.kernel, str(len(draw.accuracies)),
         _percent(draw.mean, draw.spread))
        for draw in sorted(measured.natural, key=lambda draw: (draw.kernel, draw.images))
    ]  # fmt: skip
    return table("Natural images", ("images", "per class", "kernel", "draws", "test accuracy"), rows)


def _kernels_table(measured: Measurements) -> str:
    rows = [
        (one.kernel, str(one.images), f"{one.test_images:,}", f"{one.accuracy:.2%}", f"{one.loss:.5f}")
        for one in measured.distilled
    ]
    caption = "The distilled set with other kernels than it was made with, and with its own"
    return table(caption, ("kernel", "images", "test images", "test accuracy", "loss"), rows)


def _transfer_table(measured: Measurements) -> str:
    rows = [
        (f"{one.kernel}: width {one.width}, {one.parameterization}", f"{one.steps:,}", _over_seeds(one.distilled),
         _over_seeds(one.natural))
        for one in measured.transfer
    ]  # fmt: skip
    caption = "Finite networks trained on the distilled images, and on as many natural ones: test accuracy"
    return table(caption, ("network", "steps", "distilled", "natural"), rows)


def _over_seeds(accuracies: np.ndarray) -> str:
    return _percent(float(accuracies.mean()), float(accuracies.std(ddof=1)) if len(accuracies) > 1 else None)


def _exchanged(facts: Facts) -> str:
    found = Exchanged.stored(facts.checkpoint)
    if found is None or not found.messages:
        return ""
    messages = sorted(found.messages.items(), key=lambda item: -item[1][1])
    in_steps, rows = found.steps > 1, []
    for name, (calls, n_bytes) in [*messages, ("all", found.total)]:
        each = (f"{calls / found.steps:.4g}", size_in_words(n_bytes / found.steps)) if in_steps else ()
        rows.append((_message(name), *each, f"{calls:,}", size_in_words(n_bytes)))
    steps = f"{found.steps} step{'s' * (found.steps > 1)}" + f" up to step {found.step}" * facts.method.learns_images
    caption = (
        f"What rank 0 of {found.ranks} gave to MPI, or got from it, in {steps}: "
        "evaluations and checkpoints included, messages within ScaLAPACK and HDF5 not"
    )
    per_step = ("calls per step", "bytes per step") if in_steps else ()
    return table(caption, ("messages", *per_step, "calls", "bytes"), rows)


def _message(name: str) -> str:
    return f"{IN_WORDS[name]} ({name})" if name in IN_WORDS else name


def _origin(facts: Facts) -> str:
    attributes = facts.checkpoint.attributes
    rows = [(name.replace("_", " "), str(value)) for name, value in attributes.items() if name not in _ELSEWHERE]
    return facts_table(sorted((name, value) for name, value in rows if value))
