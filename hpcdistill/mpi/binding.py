"""MPI as the rest of the package sees it: mpi4py, or, where that or its MPI library is not there, one process.

`HPCDISTILL_MPI=0` does without where there is one, as on a login node that does not let programs start MPI.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

#: "0": compute on one process, without MPI.
VARIABLE = "HPCDISTILL_MPI"
#: A process that no launcher has started begins without a daemon of Open MPI's (orted) beside it, which only `Spawn`
#: needs: 0.2 s sooner.
_ALONE = "OMPI_MCA_ess_singleton_isolated"
#: Why there is no MPI; "" where there is.
missing = ""

if TYPE_CHECKING:
    from mpi4py import MPI
    from mpi4py.util import pkl5
else:
    try:
        if os.environ.get(VARIABLE) == "0":
            raise ImportError(f"{VARIABLE}=0")
        os.environ.setdefault(_ALONE, "1")
        from mpi4py import MPI
        from mpi4py.util import pkl5
    except (ImportError, RuntimeError) as error:  # RuntimeError: mpi4py is there, and no library of MPI
        from hpcdistill.mpi import serial as MPI
        from hpcdistill.mpi import serial as pkl5

        missing = " ".join(str(error).split())

__all__ = ["MPI", "VARIABLE", "missing", "pkl5"]
