"""What KIP computes, keeps and writes. Light."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hpcdistill.cost.exchange import Messages, StepSizes, exchanged_per_step
from hpcdistill.cost.work import (
    Images,
    Phase,
    Place,
    Rows,
    Tiles,
    Work,
    checkpoint_bytes,
    cholesky_flops,
    is_distributed,
    support_bytes,
)
from hpcdistill.methods.kip.schedule import Schedule
from hpcdistill.methods.kip.settings import KipConfig

if TYPE_CHECKING:
    from hpcdistill.config import Config


def work_of(config: Config, images: Images) -> Work:
    """Return the work of a run: steps, and evaluations on the images held out."""
    kip, n = config.of(KipConfig), config.support.images_per_class * images.classes
    steps = 0 if kip.hours else kip.steps
    step = Phase(
        "step", steps, (Rows(mean_batch(kip, steps, images.train), n, gradient=True),),
        (Tiles(n), Tiles(n, lower=False, gradient=True)), cholesky_flops(n), networks=kip.architectures,
        messages=partial(_messages, config, images),
    )  # fmt: skip
    evaluation = Phase("evaluation", evaluations(kip, steps), (Rows(images.test + images.validation, n),), (Tiles(n),),
                       cholesky_flops(n))  # fmt: skip
    notes = ["kip.patience may end it before"] if kip.patience else []
    if kip.hours:
        notes.append("kip.hours decides on the number of steps; evaluations are in the time")
    files = {"a checkpoint": _checkpoint_bytes(config, images, steps)}
    return Work(
        step, (evaluation,), partial(_rank_bytes, config, images), files, kip.hours,
        "fewer support.images_per_class, or more ranks with solve.method=scalapack", tuple(notes),
    )  # fmt: skip


def mean_batch(kip: KipConfig, steps: int, train: int) -> float:
    """Return the targets of a step; the mean where the batch grows, over many steps where their number is not known."""
    if not kip.batch:
        return train
    schedule = Schedule(kip, steps or 1000)
    if not kip.last_batch:
        return kip.batch
    return sum(map(schedule.batch, range(schedule.steps))) / schedule.steps


def evaluations(kip: KipConfig, steps: int) -> int:
    """Return how often a run of so many steps is evaluated: at first, every so many steps, and at the end."""
    return 1 + steps // kip.evaluate_every + bool(steps % kip.evaluate_every)


def _messages(config: Config, images: Images, place: Place) -> Messages:
    kip, n = config.of(KipConfig), config.support.images_per_class * images.classes
    sizes = StepSizes(
        n, images.pixels, images.classes, kip.learn_labels, kip.loss == "cross_entropy" and kip.temperature_rate > 0,
        config.solve.method == "auto", is_distributed(n, place, config.solve.method), place.on_gpu,
    )  # fmt: skip
    return exchanged_per_step(sizes, place.ranks)


def _learned(config: Config, images: Images) -> float:
    """Numbers of images and labels."""
    return config.support.images_per_class * images.classes * (images.pixels + images.classes)


def _rank_bytes(config: Config, images: Images, place: Place) -> float:
    """Return bytes of K_ss; of what is learned, with Adam's moments and a gradient, twice; of a part of K_ts."""
    n = config.support.images_per_class * images.classes
    return support_bytes(n, place, config.solve.method) + 8 * 8 * _learned(config, images) + 8 * 2048 * (2 * n)


def _checkpoint_bytes(config: Config, images: Images, steps: int) -> float:
    """Return bytes of a checkpoint with Adam's two moments of what is learned, and a history of 8 columns."""
    n, average = config.support.images_per_class * images.classes, bool(config.of(KipConfig).average)
    return checkpoint_bytes(n, images, 8 * ((2 + average) * _learned(config, images) + 8 * steps))
