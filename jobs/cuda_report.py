"""Registers, spills, shared memory and occupancy of the CUDA kernels, as NVRTC compiles them; needs no GPU.

    pip install nvidia-cuda-nvrtc
    python jobs/cuda_report.py [--architecture ConvNet@32x32x3 …] [--dtype float32 float64] [--device sm_80 sm_90]
                               [--cuda 12]

Occupancy is what registers, shared memory and threads of a multiprocessor allow; 64 warps are all it can hold. Spilled
bytes are those that ptxas reports as stored.
"""

import argparse
import ctypes
import importlib.util
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpcdistill.architecture import parse_architecture
from hpcdistill.bench.cases import parse_case
from hpcdistill.bench.report import print_table
from hpcdistill.errors import ConfigError
from hpcdistill.gpu.cupy_device import COMPILER_OPTIONS, CupyDevice
from hpcdistill.kernels.cuda import full_source
from hpcdistill.kernels.cuda_layout import choose_layout
from hpcdistill.kernels.cuda_plan import constants, make_nets

HEADINGS = ("architecture", "dtype", "device", "kernel", "registers", "spilled bytes", "shared KiB", "warps", "blocks",
            "occupancy")  # fmt: skip
_REGISTERS, _MAX_WARPS, _REGISTERS_PER_UNIT = 65536, 64, 256


@dataclass(frozen=True)
class Model:
    """What the engine asks of a device, and no device.

    See `hpcdistill.gpu.device.Limits`.
    """

    shared_bytes: int
    shared_bytes_in_all: int
    shared_bytes_reserved: int = 1024
    warps = CupyDevice.warps


#: CUDA programming guide, technical specifications per compute capability.
MODELS = {"sm_80": Model(163 * 1024, 164 * 1024), "sm_90": Model(227 * 1024, 228 * 1024)}


def nvrtc(version):
    """Return the library of PyPI's nvidia-cuda-nvrtc, of a major version of CUDA if given, or else the system's."""
    spec = importlib.util.find_spec("nvidia")
    folders = [Path(p) for p in (spec.submodule_search_locations or [])] if spec else []
    found = sorted((path for folder in folders for path in folder.glob(f"*/lib/libnvrtc.so.{version or '*'}")),
                   key=lambda path: int(path.suffix[1:]))  # fmt: skip
    suffix = f".{version}" if version else ""
    try:
        return ctypes.CDLL(str(found[-1]) if found else f"libnvrtc.so{suffix}")
    except OSError:
        raise ConfigError(
            "NVRTC was not found: pip install nvidia-cuda-nvrtc (CUDA 12: nvidia-cuda-nvrtc-cu12)"
        ) from None


def compile_log(library, source, device):
    """Return what NVRTC and ptxas say of a source for a device; `RuntimeError` if it does not compile."""
    program = ctypes.c_void_p()
    library.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"engine.cu", 0, None, None)
    options = [option.encode() for option in (*COMPILER_OPTIONS, f"--gpu-architecture={device}", "--ptxas-options=-v")]
    failed = library.nvrtcCompileProgram(program, len(options), (ctypes.c_char_p * len(options))(*options))
    size = ctypes.c_size_t()
    library.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    text = ctypes.create_string_buffer(size.value)
    library.nvrtcGetProgramLog(program, text)
    library.nvrtcDestroyProgram(ctypes.byref(program))
    if failed:
        raise RuntimeError(text.value.decode())
    return text.value.decode()


def report(library, case, dtype, device):
    """Return a row per kernel."""
    model, dtype = MODELS[device], np.dtype(dtype)
    pair, variance = make_nets(parse_architecture(case.architecture), case.shape)
    layout = choose_layout(pair, variance, case.shape, dtype, model)
    log = compile_log(library, full_source(constants(pair, variance, case.shape, dtype, layout.flags)), device)
    pattern = r"Compiling entry function '(\w+)'.*?(\d+) bytes spill stores.*?Used (\d+) registers"
    rows = []
    for kernel, spilled, registers in re.findall(pattern, log, re.DOTALL):
        block = layout.forward if kernel == "block_forward" else layout.others
        warps, shared = block.warps, block.shared_bytes
        blocks = resident_blocks(model, warps, int(registers), shared)
        rows.append((f"{case.architecture}@{case.shape_text}", dtype.name, device, kernel, int(registers), int(spilled),
                     f"{shared / 1024:.0f}", warps, blocks, f"{blocks * warps / _MAX_WARPS:.0%}"))  # fmt: skip
    return sorted(rows, key=lambda row: row[3])


def resident_blocks(model, warps, registers, shared_bytes):
    """Return how many blocks fit a multiprocessor."""
    per_warp = -(-32 * registers // _REGISTERS_PER_UNIT) * _REGISTERS_PER_UNIT
    shared = model.shared_bytes_in_all // (shared_bytes + model.shared_bytes_reserved)
    return min(_MAX_WARPS // warps, _REGISTERS // per_warp // warps, shared)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--architecture", metavar="NAME@HxWxC", nargs="+", default=["ConvNet@32x32x3", "Myrtle-5@32x32x3"]
    )
    parser.add_argument("--dtype", nargs="+", choices=("float32", "float64"), default=["float32", "float64"])
    parser.add_argument("--device", nargs="+", choices=tuple(MODELS), default=list(MODELS))
    parser.add_argument(
        "--cuda", metavar="N", type=int, help="major version of CUDA (default: the newest that is there)"
    )
    args = parser.parse_args()
    try:
        library, cases = nvrtc(args.cuda), [parse_case(text) for text in args.architecture]
    except ConfigError as error:
        sys.exit(f"cuda_report: {error}")
    print_table(HEADINGS, [tuple(map(str, row)) for case in cases for dtype in args.dtype for device in args.device
                           for row in report(library, case, dtype, device)])  # fmt: skip


if __name__ == "__main__":
    main()
