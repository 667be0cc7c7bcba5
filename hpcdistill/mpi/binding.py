"""MPI as the rest of the package sees it: mpi4py, or, where that or its MPI library is not there, one process.

`HPCDISTILL_MPI=0` does without where there is one, as on a login node that does not let programs start MPI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hpcdistill.launcher import is_started_alone

#: "0": compute on one process, without MPI.
VARIABLE = "HPCDISTILL_MPI"
#: A process that no launcher has started begins without a daemon of Open MPI's (orted) beside it, which only `Spawn`
#: needs: 0.2 s sooner. All such processes of a user would share one folder for their session, which one of them may
#: remove as another makes it; they need none.
_ALONE = {"OMPI_MCA_ess_singleton_isolated": "1", "OMPI_MCA_orte_create_session_dirs": "0"}
#: Why there is no MPI; "" where there is.
missing = ""


@contextmanager
def starting() -> Iterator[None]:
    """Have Open MPI know, while it starts, that this process is alone, if it is. Programs started later do not."""
    given = {name: value for name, value in _ALONE.items() if is_started_alone() and name not in os.environ}
    os.environ.update(given)
    try:
        yield
    finally:
        for name in given:
            os.environ.pop(name, None)


if TYPE_CHECKING:
    from mpi4py import MPI
    from mpi4py.util import pkl5
else:
    try:
        if os.environ.get(VARIABLE) == "0":
            raise ImportError(f"{VARIABLE}=0")
        with starting():
            from mpi4py import MPI
            from mpi4py.util import pkl5
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, and no library of MPI
        from hpcdistill.mpi import serial as MPI
        from hpcdistill.mpi import serial as pkl5

        missing = " ".join(str(error).split())

__all__ = ["MPI", "VARIABLE", "missing", "pkl5", "starting"]
