"""What large images cost, said before a run begins."""

from __future__ import annotations

import time

from hpcdistill.mpi.collectives import on_root
from hpcdistill.progress import duration
from hpcdistill.run.experiment import Experiment

#: Pixels up to which nothing is said, and pairs of images that are timed: as many as an engine takes at a time.
_SMALL, _PAIRS = 48 * 48, 16


def say_cost(experiment: Experiment) -> None:
    """Say what a kernel entry takes, and about what a step does, where images are large.

    Some pairs of training images are timed on one rank. Collective.
    """
    height, width, channels = experiment.dataset.image_shape
    if height * width <= _SMALL:
        return
    config, pool, ranks = experiment.config, len(experiment.pool), experiment.comm.Get_size()
    entry, with_gradient = on_root(experiment.comm, lambda: _time(experiment))
    n_s = config.support.images_per_class * experiment.dataset.n_classes or pool
    method, n_t = experiment.method, experiment.method.targets(config)[1] or pool
    entries = n_s * n_t + n_s**2 / 2
    memory = experiment.kernels.ts.temporary_bytes / 2**20
    seconds = entries * (with_gradient if method.needs_gradient else entry) / ranks
    experiment.reporter.say(
        f"a kernel entry of {height}×{width}×{channels} images takes {entry:.2g} s, {with_gradient:.2g} s with its "
        f"gradient, and up to {memory:.0f} MiB of memory while it is computed: {method.unit} of {entries:,.0f} "
        f"entries, about {duration(seconds)} on {ranks} rank{'s' * (ranks > 1)}. "
        "Smaller images (data.size, or made smaller), fewer targets or another network take less"
    )


def _time(experiment: Experiment) -> tuple[float, float]:
    """Return seconds for an entry, without and with its gradient, on this rank."""
    kernels = experiment.kernels.ts
    images = experiment.preprocessing.apply(experiment.dataset.train.images[experiment.pool.indices[:_PAIRS]])
    one, some = kernels.prepare(images[:1]), kernels.prepare(images)
    sweep = kernels.sweep(one)
    started = time.perf_counter()
    block = sweep.block(some)
    between = time.perf_counter()
    sweep.add(block)
    sweep.finish()
    ended = time.perf_counter()
    return (between - started) / len(images), (ended - started) / len(images)
