"""Tests of what runs on a GPU: on one that is there, else skipped with the reason, and on a stand-in of the CPU's."""

import signal

import pytest
from host_cuda.host_device import HostDevice

from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.cupy_device import find_device

# A shell that starts the tests in the background has them ignore SIGINT, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def gpu_or_skip(request):
    if request.node.get_closest_marker("gpu"):
        try:
            find_device()
        except NotSuitable as reason:
            pytest.skip(f"no GPU: {reason}")


@pytest.fixture(params=["host", pytest.param("gpu", marks=pytest.mark.gpu)])
def device(request, gpu_or_skip):
    """The GPU, and what stands in for one."""
    return HostDevice() if request.param == "host" else find_device()
