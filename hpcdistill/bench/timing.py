"""Stop-watch and the order of measurements: what is compared takes turns, so that a slow minute slows all alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from hpcdistill.gpu.device import Device

T = TypeVar("T")


def seconds_of(call: Callable[[], object], device: Device | None = None) -> float:
    """Return the wall-clock seconds of one call; by a GPU's clock where it is that which works. Not collective."""
    if device is not None:
        return device.seconds_of(call)
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def take_turns(samplers: Sequence[Callable[[], T]], rounds: int) -> list[list[T]]:
    """Return `rounds` samples of each sampler, taken in the order a, b, c, a, b, c, …

    Not collective by itself; collective if the samplers are.
    """
    samples: list[list[T]] = [[] for _ in samplers]
    for _ in range(rounds):
        for taken, sampler in zip(samples, samplers, strict=True):
            taken.append(sampler())
    return samples
