"""What all tests share: compiled code is kept, failed tests name their files, and tests of what runs on a GPU.

They run on the GPU that is there, else skip with the reason; most run on a stand-in of the CPU's, too.
"""

import signal
from pathlib import Path

import compiled
import pytest
from host_cuda.host_device import HostDevice

from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.cupy_device import find_device

# A shell that starts the tests in the background has them ignore SIGINT, and all that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

compiled.keep_what_jax_compiles()


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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    if report.failed:
        folders = {str(value) for value in getattr(item, "funcargs", {}).values() if isinstance(value, Path)}
        if folders:
            report.sections.append(("Files of this test, kept", "\n".join(sorted(folders))))
    return report
