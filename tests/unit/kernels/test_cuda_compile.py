"""The CUDA engine compiles for real devices, and keeps to their registers. Needs NVRTC, no GPU."""

import importlib.metadata
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from compiled import kept_text

pytestmark = pytest.mark.slow
PACKAGE = Path(__file__).parents[3] / "hpcdistill"
REPORT = Path(__file__).parents[3] / "jobs/cuda_report.py"


def decisive_files():
    """What decides how the kernels are compiled."""
    kernels = [path for folder in ("native/cuda", "kernels", "gpu") for path in sorted((PACKAGE / folder).iterdir())]
    return [REPORT, PACKAGE / "architecture.py", *(path for path in kernels if path.is_file())]


def nvrtc_versions():
    found = importlib.metadata.distributions()
    return sorted(f"{package.name} {package.version}" for package in found if "nvrtc" in package.name)


@pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None, reason="NVRTC is missing: pip install nvidia-cuda-nvrtc"
)
@pytest.mark.parametrize("device", ["sm_80", "sm_90"])
@pytest.mark.parametrize(("case", "dtype", "cuda"), [("ConvNet@32x32x3", "float32", "13"),
                                                     ("ConvNet@32x32x3", "float32", "12"),
                                                     ("ConvNet@28x28x1", "float64", "13"),
                                                     ("Myrtle-5@32x32x3", "float32", "13"),
                                                     ("Conv-Vec3@32x32x3", "float32", "13")])  # fmt: skip
def test_kernels_compile_with_hardly_a_spilled_register(case, dtype, cuda, device):
    command = [sys.executable, REPORT, "--architecture", case, "--dtype", dtype, "--device", device, "--cuda", cuda]
    key = [*command[2:], *(path.read_bytes() for path in decisive_files()), *nvrtc_versions()]
    text = kept_text(key, lambda: subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout)
    rows = re.findall(rf"{re.escape(case)} +{dtype} +{device} +(\w+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+) +(\d+)%", text)
    assert {row[0] for row in rows} == {"image_norms", "block_forward", "block_adjoint", "add_slices", "norms_adjoint"}
    for kernel, registers, spilled, shared, warps, blocks, _ in rows:
        assert int(spilled) <= 8, kernel  # bytes of a thread
        assert int(registers) * 32 * int(warps) <= 65536
        assert int(shared) <= 227
        assert int(blocks) >= 1
