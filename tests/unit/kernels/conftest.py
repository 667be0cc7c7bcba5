"""Tests marked `gpu` are skipped where there is none, with the reason."""

import pytest

from hpcdistill.errors import NotSuitable
from hpcdistill.kernels.cuda_device import find_device


@pytest.fixture(autouse=True)
def gpu_or_skip(request):
    if request.node.get_closest_marker("gpu"):
        try:
            find_device()
        except NotSuitable as reason:
            pytest.skip(f"no GPU: {reason}")
