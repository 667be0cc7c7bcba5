"""The system's BLAS, with the instructions that this CPU has."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from hpcdistill.native import _engine

_VARIABLE = "OPENBLAS_CORETYPE"
#: What OpenBLAS calls CPUs with an instruction set of ours.
_CORES = {"avx512": "SKYLAKEX", "avx2": "HASWELL"}


@contextmanager
def widest_blas() -> Iterator[None]:
    """Load an OpenBLAS within this, so that it uses the widest instructions of the CPU. Not collective.

    OpenBLAS chooses by the CPU's model. One that is younger than it counts as the oldest: OpenBLAS 0.3.21, Debian 12's,
    does 13 GF/s with SSE3 on a core of an Intel Emerald Rapids that does 41. `OPENBLAS_CORETYPE`, where it is set, is
    heeded; programs started later do not inherit what is set here.
    """
    core = next((_CORES[target] for target in _engine.supported_targets() if target in _CORES), None)
    if core is None or _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = core
    try:
        yield
    finally:
        del os.environ[_VARIABLE]
