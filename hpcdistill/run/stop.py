"""Ending a run when Slurm, or a person, asks it to: at the next moment at which nothing that is computed gets lost.

Signals only set a flag. At each boundary between steps of a method and chunks of an
evaluation the ranks agree whether one of them was asked; then all end together, with `StopRequested`.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from hpcdistill.attempt import StopSignal, signal_delay_seconds
from hpcdistill.errors import StopRequested
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import greatest


class Boundary:
    """The moments at which a run can end.

    Args:
        asked: what the process has heard.
        warn: told, once, if so much time passes between two boundaries that Slurm would not wait for the next.
        shorter: what makes that time shorter, as `Method` says it.
    """

    def __init__(self, asked: StopSignal, warn: Callable[[str], None], shorter: str = "") -> None:
        self._asked, self._warn, self._delay, self._shorter = asked, warn, signal_delay_seconds(), shorter
        self._last: float | None = None

    def check(self, comm: MPI.Intracomm) -> None:
        """Call at a boundary. Collective.

        Raises:
            StopRequested: on every rank, if any rank was asked to stop.
        """
        self._watch()
        if number := greatest(comm, self._asked.number):
            raise StopRequested(
                f"stopped by {signal.Signals(number).name}; what was computed is saved. Continue with --resume."
            )

    def _watch(self) -> None:
        now, before = time.monotonic(), self._last
        self._last = now
        if self._delay is None or before is None or now - before <= self._delay:
            return
        self._warn(
            f"warning: {now - before:.0f} s passed between two moments at which this run can stop, and Slurm grants "
            f"{self._delay:.0f} s between its signal and the end: what is computed in between would be lost. Raise "
            f"restart.signal_delay_seconds in the profile (#SBATCH --signal), or use more ranks{_or(self._shorter)}."
        )
        self._delay = None


def _or(remedy: str) -> str:
    return f", or {remedy}" if remedy else ""
