"""What a program of one process needs of mpi4py, where there is no MPI: the same names, with nobody to talk to."""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np

SUM = MIN = "operation"
IN_PLACE, UNDEFINED, COMM_TYPE_SHARED = "in place", -1, "shared"
COMM_NULL = None
Wtime = time.perf_counter


class Exception(RuntimeError):
    """What an MPI library would raise."""


class Request:
    """Something that is done already."""

    def Test(self) -> bool:
        """Return that it is done."""
        return True

    @staticmethod
    def Testall(requests: list[Request]) -> bool:
        """Return that all are done."""
        del requests
        return True


class Intracomm:
    """A communicator of this process alone. Methods are mpi4py's."""

    def __init__(self, comm: Intracomm | None = None) -> None:
        del comm

    def Get_rank(self) -> int:
        """Return 0."""
        return 0

    def Get_size(self) -> int:
        """Return 1."""
        return 1

    def Barrier(self) -> None:
        """Wait for nobody."""

    def Ibarrier(self) -> Request:
        """Wait for nobody."""
        return Request()

    def Free(self) -> None:
        """Nothing is held."""

    def Abort(self, code: int = 0) -> None:
        """End the process."""
        os._exit(code)

    def Bcast(self, array: np.ndarray, root: int = 0) -> None:
        """The array is the root's."""

    def Allreduce(self, sent: Any, received: np.ndarray, op: Any = SUM) -> None:
        """The sum of one array is the array."""
        if sent is not IN_PLACE:
            received[...] = sent

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Return the value."""
        del root
        return value

    def allgather(self, value: Any) -> list[Any]:
        """Return the value of the one process."""
        return [value]

    def Split(self, color: int = 0, key: int = 0) -> Intracomm | None:
        """Return a communicator of the same process, or none."""
        del key
        return COMM_NULL if color == UNDEFINED else Intracomm()

    def Split_type(self, kind: Any) -> Intracomm:
        """Return a communicator of the same process."""
        del kind
        return Intracomm()


COMM_WORLD = COMM_SELF = Intracomm()


def Get_library_version() -> str:
    """Return that there is none."""
    return "none"
