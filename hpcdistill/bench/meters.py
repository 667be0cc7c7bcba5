"""Meters that stand in for what a step is given: kernel backends that take their time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from hpcdistill.kernels.base import KernelBackend
from hpcdistill.kernels.sweep import Sweep
from hpcdistill.learning.assemble import Kernels

T = TypeVar("T")


@dataclass
class Clock:
    """Seconds added up."""

    seconds: float = 0.0

    def time(self, call: Callable[[], T]) -> T:
        """Call, add the seconds it takes, and return its result."""
        started = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds += time.perf_counter() - started


class TimedBackend:
    """A kernel backend whose calls are timed by `clock`; otherwise the one it stands for. See `KernelBackend`."""

    def __init__(self, backend: KernelBackend, clock: Clock) -> None:
        self.name, self.dtype, self.device = backend.name, backend.dtype, backend.device
        self.temporary_bytes = backend.temporary_bytes
        self._backend, self._clock = backend, clock

    def prepare(self, images: ArrayLike) -> Any:
        """See `KernelBackend.prepare`."""
        return self._time(lambda: self._backend.prepare(images))

    def block(self, h1: Any, h2: Any) -> Any:
        """See `KernelBackend.block`."""
        return self._time(lambda: self._backend.block(h1, h2))

    def block_vjp(self, h1: Any, h2: Any, cotangent: Any) -> Any:
        """See `KernelBackend.block_vjp`."""
        return self._time(lambda: self._backend.block_vjp(h1, h2, cotangent))

    def sweep(self, h1: Any) -> TimedSweep:
        """See `KernelBackend.sweep`."""
        return TimedSweep(self._time(lambda: self._backend.sweep(h1)), self._time)

    def _time(self, call: Callable[[], T]) -> T:
        """Call, and count what a GPU takes to finish it: it may have been at work on something else before."""
        device = self.device
        if device is None:
            return self._clock.time(call)

        def finished() -> T:
            result = call()
            device.synchronize()
            return result

        device.synchronize()
        return self._clock.time(finished)


class TimedSweep:
    """A sweep whose calls are timed; otherwise the one it stands for. See `Sweep`."""

    def __init__(self, sweep: Sweep, timed: Callable[[Callable[[], Any]], Any]) -> None:
        self._sweep, self._timed = sweep, timed
        self.at_once = sweep.at_once

    def block(self, h2: Any) -> Any:
        """See `Sweep.block`."""
        return self._timed(lambda: self._sweep.block(h2))

    def add(self, cotangent: Any) -> None:
        """See `Sweep.add`."""
        self._timed(lambda: self._sweep.add(cotangent))

    def finish(self) -> Any:
        """See `Sweep.finish`."""
        return self._timed(self._sweep.finish)


def timed_kernels(kernels: Kernels, clock: Clock) -> Kernels:
    """Return the same kernels, timed by one clock; one backend for both stays one."""
    ss = TimedBackend(kernels.ss, clock)
    return Kernels(ss, ss if kernels.ts is kernels.ss else TimedBackend(kernels.ts, clock))
