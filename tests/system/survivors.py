"""No process outlives the test that started it."""

import os

import pytest
from launch import MARK, kill, marked_processes, wait_until

from hpcdistill.hdf5 import apart

_numbers = iter(range(10**9))


@pytest.fixture(autouse=True)
def nothing_survives(request, monkeypatch):
    """Fail a test that leaves processes behind, and kill them."""
    mark = f"{request.node.nodeid}, {os.getpid()}.{next(_numbers)}"
    monkeypatch.setenv(MARK, mark)
    yield
    apart._READER.end()  # by which this process itself has read files
    try:
        wait_until(lambda: not marked_processes(mark), lambda: f"an end of {marked_processes(mark)}")
    finally:
        for line in marked_processes(mark):
            kill(int(line.partition(":")[0]))
