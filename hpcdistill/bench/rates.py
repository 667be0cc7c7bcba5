"""How fast kernels and dense algebra are here, in a few seconds, on one rank or on several at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from statistics import fmean, median
from typing import Any

import numpy as np
import scipy.linalg

from hpcdistill.architecture import Architecture
from hpcdistill.bench.machine import cpu_model, now
from hpcdistill.bench.timing import seconds_of
from hpcdistill.cost.rates import CORE, GPU, Device, Speed
from hpcdistill.data.preprocess import Standardisation, centred_one_hot
from hpcdistill.kernels.select import choose_backend
from hpcdistill.learning.assemble import Kernels, Targets
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, agree_any, gather_objects

#: Pairs at least, and seconds that a block takes at least; largest sides of a block; and how often it is timed.
_PAIRS, _SECONDS, _MOST_ROWS, _MOST_COLUMNS, _ROUNDS = 64, 0.1, 256, 2048, 5
#: Images that are made ready together; classes of the labels, and the ridge.
_IMAGES, _CLASSES, _RIDGE = 2048, 10, 1e-2
#: Side of the matrix that is factored: smaller ones are slower, and take no time that counts.
_SIDE = 4096


def measure_device(
    kernels: dict[str, tuple[Architecture, str]], shape: tuple[int, int, int], backend: str, support: int
) -> Device:
    """Return speeds of this machine, per core as many as `OMP_NUM_THREADS` says, or of its GPU. Not collective.

    Args:
        kernels: by name: networks and types.
        shape: of images, (h, w, c).
        backend: "auto", or one by name.
        support: images of the support: blocks have no more rows.

    Raises:
        ConfigError, EnvironmentSetupError: a backend that cannot serve them.
    """
    chosen = {name: choose_backend(architecture, shape, np.dtype(dtype), backend)
              for name, (architecture, dtype) in kernels.items()}  # fmt: skip
    on_gpu = any(one.device is not None for one in chosen.values())
    cores = 1 if on_gpu else int(os.environ.get("OMP_NUM_THREADS", 1))
    entries = {name: _speed(one, shape, support, cores) for name, one in chosen.items()}
    gflops = {} if on_gpu else {dtype: _gflops(dtype) / cores for dtype in ("float32", "float64")}
    return Device(cpu_model() + " and its GPU" * on_gpu, GPU if on_gpu else CORE, entries, gflops, now()[:10])


def measure_together(comm: MPI.Intracomm, measure: Callable[[], Device]) -> Device:
    """Return the mean of what ranks measure at the same time, on cores that all compute, as in a run. Collective."""
    agree_any(comm, False)  # so that all start together
    with agree(comm):
        device = measure()
    devices = gather_objects(comm, device)
    entries = {name: _mean([one.entries[name] for one in devices]) for name in device.entries}
    gflops = {dtype: fmean(one.gflops[dtype] for one in devices) for dtype in device.gflops}
    return replace(devices[0], entries=entries, gflops=gflops)


def _mean(speeds: Sequence[Speed]) -> Speed:
    return Speed(*(fmean(getattr(speed, part.name) for speed in speeds) for part in fields(Speed)))


def _speed(backend: Any, shape: tuple[int, int, int], support: int, cores: int) -> Speed:
    """Return the speed of ridge regression and of its gradient: of kernels, with all that a run does with them."""
    n, m = _sides(backend, shape, support)
    y_s, y = (centred_one_hot(np.arange(images) % _CLASSES, _CLASSES) for images in (n, m))
    regression = KernelRegression(MPI.COMM_SELF, Kernels(backend, backend), _draw((n, *shape)), _RIDGE)
    raw, channels = np.zeros((_IMAGES, *shape), np.uint8), np.ones(shape[-1])
    standardisation = Standardisation(0.5 * channels, channels, (0, 255))

    def one_round() -> tuple[float, float, float]:
        x = _draw((m, *shape))
        targets = Targets(lambda start, stop: (x[start:stop], y[start:stop]), m)
        return (
            seconds_of(partial(standardisation.apply, raw)),  # so that nothing of the targets before is in the caches
            seconds_of(partial(regression.evaluate, y_s, targets)),
            seconds_of(partial(regression.gradient, y_s, targets)),
        )

    ready, forward, gradient = (median(found) for found in zip(*(one_round() for _ in range(_ROUNDS)), strict=True))
    regression.close()
    return Speed(n * m / forward / cores, n * (m + n) / gradient / cores, _IMAGES / ready / cores)


def _draw(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def _sides(backend: Any, shape: tuple[int, int, int], support: int) -> tuple[int, int]:
    """Return the sides of a block that takes long enough to be timed."""
    sides, most = (min(support, 8), -(-_PAIRS // min(support, 8))), (min(support, _MOST_ROWS), _MOST_COLUMNS)
    while True:
        one, other = (backend.prepare(_draw((side, *shape))) for side in sides)
        if sides == most or seconds_of(partial(backend.block, one, other), backend.device) >= _SECONDS:
            return sides
        sides = _larger(sides, most)


def _larger(sides: tuple[int, int], most: tuple[int, int]) -> tuple[int, int]:
    """Return sides of which one is twice as long: the shorter one, where it may be."""
    grow = 0 if sides[0] < most[0] and (sides[0] <= sides[1] or sides[1] == most[1]) else 1
    if grow == 0:
        return min(2 * sides[0], most[0]), sides[1]
    return sides[0], min(2 * sides[1], most[1])


def _gflops(dtype: str) -> float:
    """Return 10⁹ operations per second of a Cholesky factorisation."""

    def one_round() -> float:
        matrix = np.ones((_SIDE, _SIDE), dtype, order="F")
        np.fill_diagonal(matrix, _SIDE + 1)
        return seconds_of(partial(scipy.linalg.cholesky, matrix, lower=True, overwrite_a=True, check_finite=False))

    return _SIDE**3 / 3 / 1e9 / median(one_round() for _ in range(3))
