"""MPI: the runtime (the only place with COMM_WORLD), every collective call, and index arithmetic.

Importing a module of this package starts MPI, which ends the process without a readable word where ranks cannot find
each other. So that is looked at here, first. And from then on a rank that ends by an error which nobody catches, such
as a library that one node lacks, ends all: else it would wait for the others, and they for it.
"""

from __future__ import annotations

import sys
from types import TracebackType

from hpcdistill.launcher import check_launch

check_launch()
_show = sys.excepthook


def _end_all(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    _show(kind, error, trace)
    if "mpi4py.MPI" in sys.modules:
        from mpi4py.run import set_abort_status

        set_abort_status(error)


sys.excepthook = _end_all
