"""What kernel ridge regression on natural images computes, keeps and writes. Light."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.cost.exchange import Messages
from hpcdistill.cost.scaling import cholesky_bytes
from hpcdistill.cost.work import (
    Images,
    Phase,
    Place,
    Rows,
    Tiles,
    Work,
    checkpoint_bytes,
    cholesky_flops,
    support_bytes,
)
from hpcdistill.methods.krr import METHOD, KrrConfig

if TYPE_CHECKING:
    from hpcdistill.config import Config

#: Side of a block: large ones are fast where a rank has many, and it is that of a kernel file's tiles.
BLOCK = 256


def work_of(config: Config, images: Images) -> Work:
    """Return the work of a run: draws, or all images at once."""
    if config.support.images_per_class:
        return _of_draws(config, images)
    return _by_cholesky(config, images) if config.of(KrrConfig).solver == "cholesky" else _by_iteration(config, images)


def is_whole(config: Config, ranks: int) -> bool:
    """Return whether each rank keeps all of K_ss of all images, and not a share of it."""
    return config.solve.method == "replicated" or (config.solve.method == "auto" and ranks == 1)


def _of_draws(config: Config, images: Images) -> Work:
    n = config.support.images_per_class * images.classes
    draw = Phase("draw", METHOD.steps(config), (Rows(images.test, n),), (Tiles(n),), cholesky_flops(n),
                 messages=lambda place: {"Allreduce": (1, 8 * n * n)} if place.ranks > 1 else {})  # fmt: skip
    return Work(
        draw, (), lambda place: support_bytes(n, place, config.solve.method) + 8 * n * (images.pixels + 2048),
        {"a checkpoint": checkpoint_bytes(n, images)},
        remedy="fewer support.images_per_class",
    )  # fmt: skip


def _by_cholesky(config: Config, images: Images) -> Work:
    krr, n = config.of(KrrConfig), images.train
    ridges = 1 + len(krr.regs)
    tiles = () if krr.kernel_file else (Tiles(n, block=BLOCK),)
    solve = Phase("K_ss and ridges", 1, (), tiles, shared_flops=ridges * cholesky_flops(n), dense=krr.precision,
                  messages=partial(_messages, n, ridges, _item_bytes(config)))  # fmt: skip
    other = "" if krr.precision == "float32" else "krr.precision=float32 (half of it), or "
    notes = ["MB sent on several ranks are ScaLAPACK's own, by its formula; a run counts none of them"]
    if krr.precision == "float32":
        notes.append("krr.precision=float32 refines each solution, which takes some more products")
    return Work(
        solve, (_measured(images),), partial(_kept_for_cholesky, config, images), _files(images, ridges),
        remedy=f"{other}krr.solver=conjugate_gradients, which keeps no K_ss", notes=(*notes, *_kernel_file(config)),
    )  # fmt: skip


def _by_iteration(config: Config, images: Images) -> Work:
    krr, n = config.of(KrrConfig), images.train
    tiles = () if krr.kernel_file else (Tiles(n, block=BLOCK),)
    ridges, columns = 1 + len(krr.regs), (1 + len(krr.regs)) * images.classes
    step = Phase("first step", 1, (), tiles, shared_flops=2.0 * n * n * columns,
                 messages=partial(iteration_messages, n, min(krr.rank, n), columns))  # fmt: skip
    preconditioner = Phase("preconditioner", 1, (Rows(n, krr.rank),), shared_flops=float(n * krr.rank**2))
    kept = f"{krr.keep_gib:g} GiB of K_ss on each rank"
    again = f"{8 * n * n / 2**31:.1f} GiB in all; what is beyond {kept} is computed anew in each step"
    notes = (f"how many steps it takes is not known before: time is of the first. K_ss has {again}",
             *_kernel_file(config))  # fmt: skip
    return Work(
        step, (preconditioner, _measured(images)),
        lambda place: min(krr.keep_gib * 2**30, 4 * n * n / place.ranks) + 8 * n * krr.rank / place.ranks
        + _image_bytes(images) + 8 * 6 * n * columns,
        _files(images, ridges), remedy="a lower krr.keep_gib or krr.rank",
        notes=notes,
    )  # fmt: skip


def _kernel_file(config: Config) -> list[str]:
    """Return what is to be said of the file that the kernel is to be read from, if it is; raise if it is none of it."""
    path = config.of(KrrConfig).kernel_file
    if not path:
        return []
    if not os.path.exists(path):
        return [f"{path} is not there: the time of `hpcdistill kernel` comes before"]
    from hpcdistill.run.kernel_source import kernel_with_settings  # which takes a while

    file = kernel_with_settings(Path(path), config)
    missing, there = len(file.missing()), len(file.tiles())
    return [f"{path} lacks {missing} of {there} tiles: `hpcdistill kernel` computes them before"] * bool(missing)


def iteration_messages(n: int, rank: int, columns: int, place: Place) -> Messages:
    """Return what a step of conjugate gradients sends: products with K and with both sides of the preconditioner."""
    if place.ranks == 1:
        return {}
    return {"Allreduce": (3, 8 * columns * (2 * n + rank)), "allreduce": (1, 8)}


def _measured(images: Images) -> Phase:
    return Phase("evaluation", 1, (Rows(images.test + images.validation, images.train),))


def _item_bytes(config: Config) -> int:
    return 4 if config.of(KrrConfig).precision == "float32" else 8


def _kept_for_cholesky(config: Config, images: Images, place: Place) -> float:
    """Return bytes of a rank's share of K_ss, and of all images."""
    copies_over = 1 if is_whole(config, place.ranks) else place.ranks
    return images.train**2 * _item_bytes(config) / copies_over + _image_bytes(images)


def _image_bytes(images: Images) -> float:
    """Return bytes of all training images, in both types."""
    return 12.0 * images.train * images.pixels


def _messages(n: int, ridges: int, item_bytes: int, place: Place) -> Messages:
    if place.ranks == 1:
        return {}
    return {"ScaLAPACK": (0, round(ridges * cholesky_bytes(n, place.ranks, item_bytes)))}


def _files(images: Images, ridges: int) -> dict[str, float]:
    return {"a checkpoint": checkpoint_bytes(images.train, images, 8 * images.train * ridges * images.classes)}
