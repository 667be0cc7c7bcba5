"""Meters that stand in for what a step is given: kernel backends that take their time, a communicator that counts."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from numpy.typing import ArrayLike

from hpcdistill.kernels.base import KernelBackend
from hpcdistill.kernels.sweep import Sweep
from hpcdistill.learning.assemble import Kernels
from hpcdistill.mpi.binding import MPI, pkl5

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


@dataclass
class Traffic:
    """Calls of each collective and the bytes that this rank gave it.

    The names are mpi4py's: capitals for arrays (`Allreduce`), small letters for pickled objects (`allreduce`).
    Bytes are those of the message; how often a library sends it on is its own affair.
    """

    calls: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)

    def add(self, name: str, n_bytes: int) -> None:
        """Count one call."""
        self.calls[name] = self.calls.get(name, 0) + 1
        self.bytes[name] = self.bytes.get(name, 0) + n_bytes

    def as_dict(self) -> dict[str, dict[str, int]]:
        """Return `{name: {"calls": …, "bytes": …}}`."""
        return {name: {"calls": self.calls[name], "bytes": self.bytes[name]} for name in sorted(self.calls)}


class CountingComm(pkl5.Intracomm):
    """The communicator it is made from, with what `mpi.collectives` calls in a step counted in `traffic`.

    Neither duplicates nor owns the communicator. Messages within ScaLAPACK are not seen.
    """

    def __init__(self, comm: MPI.Intracomm) -> None:
        del comm  # taken by __new__
        self.traffic = Traffic()

    def Allreduce(self, sendbuf: Any, recvbuf: Any, op: MPI.Op = MPI.SUM) -> None:
        """See mpi4py."""
        self.traffic.add("Allreduce", recvbuf.nbytes)
        super().Allreduce(sendbuf, recvbuf, op=op)

    def Bcast(self, buf: Any, root: int = 0) -> None:
        """See mpi4py."""
        self.traffic.add("Bcast", buf.nbytes)
        super().Bcast(buf, root=root)

    def allreduce(self, sendobj: Any, op: Any = MPI.SUM) -> Any:
        """See mpi4py."""
        self.traffic.add("allreduce", len(pickle.dumps(sendobj)))
        return super().allreduce(sendobj, op=op)

    def bcast(self, obj: Any, root: int = 0) -> Any:
        """See mpi4py."""
        self.traffic.add("bcast", len(pickle.dumps(obj)))
        return super().bcast(obj, root=root)
