"""CuPy itself, where there is no GPU or it is hidden: what is used of it is there, and no GPU is no error."""

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from host_cuda.arrays import DeviceArray, HostArrays

from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.cupy_device import CupyDevice

CUPY = Path(sys.prefix) / "cupy"
#: What gpu/cupy_device.py calls.
USED = [
    "cupy.RawModule", "cupy.linalg.cholesky", "cupy.cuda.Event.record", "cupy.cuda.Event.synchronize",
    "cupy.cuda.get_elapsed_time", "cupy.cuda.get_current_stream", "cupy.cuda.Device.use", "cupy.cuda.Device.mem_info",
    "cupy.cuda.Device.attributes", "cupy.cuda.runtime.getDeviceProperties", "cupy.cuda.runtime.deviceGetPCIBusId",
    "cupy.cuda.runtime.getDeviceCount", "cupy.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor",
    "cupy.RawModule.get_function", "cupy.RawModule.compile",
    "cupy.RawKernel.kernel", "cupy.RawKernel.max_dynamic_shared_size_bytes",
    "cupy.RawKernel.preferred_shared_memory_carveout",
    "cupyx.empty_pinned", "cupyx.errstate", "cupy.ndarray.__cuda_array_interface__",
]  # fmt: skip


def with_cupy(program):
    """Run a program that can import CuPy and sees no GPU; return what it prints."""
    paths = [str(CUPY), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=120)
    if "No module named 'cupy'" in done.stderr:
        pytest.skip("CuPy is not there: bash jobs/setup.sh --tests")
    assert done.returncode == 0, done.stderr
    return done.stdout


def public(cls):
    return [name for name in vars(cls) if not name.startswith("_") or (name.startswith("__i") and name != "__init__")]


def test_the_stand_in_has_nothing_that_cupy_has_not():
    names = [f"cupy.{name}" for name in public(HostArrays)] + [f"cupy.ndarray.{name}" for name in public(DeviceArray)]
    program = f"""
import functools, cupy, cupyx
missing = []
for name in {names + USED}:
    try:
        functools.reduce(getattr, name.split(".")[1:], cupyx if name.startswith("cupyx") else cupy)
    except AttributeError:
        missing.append(name)
print(missing)
"""
    assert len(names) > 20
    assert with_cupy(program) == "[]\n"


def test_functions_take_the_parameters_they_are_given_here():
    program = """
import inspect, json, cupy, cupyx
functions = {name: getattr(cupy, name) for name in ("empty", "zeros", "asarray", "eye", "arange", "ascontiguousarray")}
print(json.dumps({name: list(inspect.signature(f).parameters) for name, f in functions.items()}))
"""
    theirs = json.loads(with_cupy(program))
    for name, parameters in theirs.items():
        ours = list(inspect.signature(getattr(HostArrays, name)).parameters)[1:]
        assert len(ours) <= len(parameters), name
        if "dtype" in ours:
            assert "dtype" in parameters, name
            assert ours.index("dtype") == parameters.index("dtype") or name in ("arange",), name


def test_without_a_gpu_cupy_is_no_reason_to_fail():
    program = """
from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.cupy_device import find_device
from hpcdistill.kernels.select import choose_backend
try:
    find_device()
except NotSuitable as reason:
    print(reason)
print(choose_backend(parse_architecture("ConvNet"), (8, 8, 1), "float32", log=print).name)
"""
    reason, said, name = with_cupy(program).splitlines()
    assert reason.startswith("CuPy finds no GPU (cudaError")
    assert said == f"kernels by native, not by cuda: {reason}"
    assert name == "native"


def test_cupy_without_the_libraries_of_cuda_is_an_error_with_a_remedy():
    program = """
import cupy
from hpcdistill.errors import NotSuitable
from hpcdistill.gpu.cupy_device import CupyDevice
device = object.__new__(CupyDevice)
device.name, device.xp = "H100", cupy
try:
    device.compile('extern "C" __global__ void f() {}')
except NotSuitable as reason:
    print(reason.unexpected, reason)
"""
    assert re.fullmatch(
        r"True CuPy cannot compile for H100 \(.+\); CUDA's libraries come with .*pip install 'hpcdistill\[cuda12\]'.*",
        with_cupy(program).strip(),
    )


class CompileException(Exception):
    """As CuPy's, which needs CUDA to be made."""


REFUSED = """engine.cu(12): note: about it
engine.cu(13): error: identifier "x" is undefined

engine.cu(14): warning: unused
1 error detected in the compilation of "engine.cu"."""


def test_the_cause_of_an_error_of_compilation_is_told():
    class Module:
        def __init__(self, **options):
            pass

        def compile(self):
            raise CompileException(REFUSED)

    device = object.__new__(CupyDevice)
    device.name, device.xp = "H100", type("xp", (), {"RawModule": Module})
    with pytest.raises(NotSuitable, match=r'\(engine.cu\(13\): error: identifier "x" is undefined; 1 error detected'):
        device.compile("")
    with pytest.raises(NotSuitable) as caught:
        device.compile("")
    assert "pip install" not in str(caught.value)
