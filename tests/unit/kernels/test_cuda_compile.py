"""The CUDA engine compiles for real devices, and keeps to their registers. Needs NVRTC, no GPU."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
REPORT = Path(__file__).parents[3] / "jobs/cuda_report.py"


@pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None, reason="NVRTC is missing: pip install nvidia-cuda-nvrtc"
)
@pytest.mark.parametrize("device", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("case", "dtype", "cuda"), [("ConvNet@32x32x3", "float32", "13"),
                                                     ("ConvNet@32x32x3", "float32", "12"),
                                                     ("ConvNet@28x28x1", "float64", "13"),
                                                     ("Myrtle-5@32x32x3", "float32", "13"),
                                                     ("Conv-Vec3@32x32x3", "float32", "13")])  # fmt: skip
def test_kernels_compile_without_spills(case, dtype, cuda, device):
    command = [sys.executable, REPORT, "--architecture", case, "--dtype", dtype, "--device", device, "--cuda", cuda]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout
    rows = re.findall(rf"{re.escape(case)} +{dtype} +{device} +(\w+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)%", text)
    assert {row[0] for row in rows} == {"image_norms", "block_forward", "block_adjoint", "add_slices", "norms_adjoint"}
    for kernel, registers, spilled, shared, warps, blocks, _ in rows:
        assert int(spilled) == 0, kernel
        assert int(registers) * 32 * int(warps) <= 65536
        assert int(shared) <= 227
        assert int(blocks) >= 1
