"""Start and end of an MPI program: the only place that names COMM_WORLD.

`run_collectively` is what every command that may run on several ranks goes through. It makes sure that an error ends
all ranks, quickly, with one readable message, and that the exit code is the error's own.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from hpcdistill.attempt import report_ended, report_running
from hpcdistill.errors import EXIT_INTERNAL, HpcDistillError, InterruptedWriteError, MemoryShortageError
from hpcdistill.launcher import check_size, is_first_rank
from hpcdistill.mpi.binding import MPI, missing
from hpcdistill.mpi.collectives import all_meet
from hpcdistill.mpi.shared import free_windows


def world() -> MPI.Intracomm:
    """Return the communicator of all ranks."""
    return MPI.COMM_WORLD


def run_collectively(body: Callable[[MPI.Intracomm], int]) -> int:
    """Call `body(comm)` on every rank and return the exit code. Collective.

    An error that all ranks raise together (as after `collectives.agree`) is printed once and ends them in an orderly
    way. An error of some ranks alone is printed by the first of them and ends the job through `MPI_Abort`. A batch
    script that waits for the ranks hears how it ended (`hpcdistill.attempt`).
    """
    comm = world()
    try:
        check_size(comm.Get_size(), missing)
        if comm.Get_rank() == 0:
            report_running()
        code = body(comm)
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        if comm.Get_size() == 1:
            raise
        _abort(comm, EXIT_INTERNAL)
    except (HpcDistillError, MemoryError) as caught:
        error = caught if isinstance(caught, HpcDistillError) else MemoryShortageError.here(caught)
        at_once = isinstance(error, InterruptedWriteError)
        _end_failed(comm, f"{error.label}{error}", error.exit_code, at_once=at_once)
        return error.exit_code
    except (Exception, KeyboardInterrupt) as caught:
        where = f" on rank {comm.Get_rank()}" if comm.Get_size() > 1 else ""
        interrupted = isinstance(caught, KeyboardInterrupt)
        text = f"interrupted{where}" if interrupted else f"internal error{where}:\n{traceback.format_exc()}"
        _end_failed(comm, text, 130 if interrupted else EXIT_INTERNAL)
        return 130 if interrupted else EXIT_INTERNAL
    if comm.Get_rank() == 0:
        report_ended(code)
    free_windows()
    return code


def _end_failed(comm: MPI.Intracomm, message: str, code: int, *, at_once: bool = False) -> None:
    """Print one message for the job; abort it if asked to, or if a rank does not arrive here in time."""
    arrived = all_meet(comm)
    if (comm.Get_rank() == 0 and is_first_rank()) or not arrived:
        print(f"hpcdistill: {message}", file=sys.stderr, flush=True)
        report_ended(code)
    if not arrived or at_once:
        _abort(comm, code)
    free_windows()


def _abort(comm: MPI.Intracomm, code: int) -> NoReturn:
    with suppress(BrokenPipeError):
        sys.stdout.flush()
    sys.stderr.flush()
    if comm.Get_size() > 1:
        comm.Abort(code)
    os._exit(code)  # also for MPI libraries whose Abort returns
