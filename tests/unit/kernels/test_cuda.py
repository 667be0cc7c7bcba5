"""The CUDA engine, its source run on the CPU by fibers: against `native`, and that nothing but the images decides."""

import ctypes
import itertools
import os
import subprocess
from functools import partial

import numpy as np
import pytest
from host_cuda.host_device import FOLDER, HostDevice

from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import ConfigError, InputError, NotSuitable
from hpcdistill.gpu import cupy_device
from hpcdistill.gpu.cupy_device import CupyDevice
from hpcdistill.gpu.device import to_host
from hpcdistill.kernels import cuda_sweep
from hpcdistill.kernels.cuda import MEMORY_VARIABLE, CudaBackend
from hpcdistill.kernels.cuda_layout import choose_layout
from hpcdistill.kernels.cuda_plan import make_nets
from hpcdistill.kernels.native import NativeBackend

CONV = "conv relu conv relu pool conv relu pool flatten dense"
GAP = "conv relu pool conv relu gap dense relu dense"
DTYPES = (np.dtype(np.float64), np.dtype(np.float32))
TOLERANCE = {DTYPES[0]: 3e-15, DTYPES[1]: 2e-6}


def backend(text=CONV, shape=(8, 7, 2), dtype=DTYPES[1], kind="ntk", **device):
    return CudaBackend(parse_architecture(text, kind), shape, dtype, HostDevice(**device))


def images(n, shape=(8, 7, 2), seed=0):
    return np.random.default_rng(seed).normal(size=(n, *shape))


def results(kernels, shape=(8, 7, 2)):
    """Norms, a block, a block of one set with itself, and a gradient."""
    h1, h2 = kernels.prepare(images(3, shape)), kernels.prepare(images(5, shape, 1))
    cotangent = np.random.default_rng(2).normal(size=(3, 5))
    found = [h1.per_image[-1], kernels.block(h1, h2), kernels.block(h2, h2), kernels.block_vjp(h1, h2, cotangent)]
    return [to_host(array) for array in found]


def error(actual, expected):
    assert actual.shape == expected.shape
    return np.abs(actual - expected).max() / np.abs(expected).max() if expected.size else 0.0


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("text", "shape", "kind"), [
    ("ConvNet", (16, 16, 3), "ntk"),
    ("ConvNet", (9, 13, 1), "nngp"),
    ("Myrtle-5", (8, 12, 1), "ntk"),
    ("Conv-Vec3", (6, 32, 2), "ntk"),
    (GAP, (7, 9, 4), "ntk"),
    ("conv pool conv flatten dense dense", (5, 6, 1), "ntk"),
    ("flatten dense relu dense", (3, 4, 2), "ntk"),
])  # fmt: skip
def test_against_the_engine_for_cpus(text, shape, kind, dtype):
    ours, theirs = backend(text, shape, dtype, kind), NativeBackend(parse_architecture(text, kind), shape, dtype)
    for found, expected in zip(results(ours, shape), results(theirs, shape), strict=True):
        assert error(found, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("text", [CONV, GAP])
@pytest.mark.parametrize("device", [{"seed": 1}, {"seed": 2}, {"blocks": 1}, {"blocks": 64}])
def test_the_order_of_warps_and_the_number_of_blocks_change_no_bit(text, device):
    for found, expected in zip(results(backend(text, **device)), results(backend(text)), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("shared_bytes", [200_000, 1_000])
@pytest.mark.parametrize("text", [CONV, GAP])
def test_no_memory_before_an_array_is_touched(text, shared_bytes):  # nor behind one, in all other tests
    results(backend(text, shared_bytes=shared_bytes, guard_before=True))


@pytest.mark.parametrize("text", [CONV, GAP])
@pytest.mark.parametrize("warps", [(1, 1), (2, 3), (7, 5)])
def test_the_number_of_warps_changes_rounding_alone(text, warps):
    for found, expected in zip(results(backend(text, warps=warps)), results(backend(text)), strict=True):
        assert error(found, expected) < TOLERANCE[DTYPES[1]]


@pytest.mark.parametrize(("shape", "shared_bytes", "store", "n_images"), [
    ((8, 7, 2), 2_000, True, 0),
    ((8, 7, 2), 1_000, False, 0),
    ((8, 8, 1), 1_000, False, 1),
    ((8, 8, 1), 2_000, False, 2),
])  # fmt: skip
def test_what_does_not_fit_shared_memory_is_in_global_memory(shape, shared_bytes, store, n_images):
    text = "conv relu pool conv relu gap dense"
    small, large = (backend(text, shape, warps=(1, 2), shared_bytes=size) for size in (shared_bytes, 200_000))
    for block in (small.layout.forward, small.layout.others):
        assert block.shared_bytes <= shared_bytes
        assert block.images == n_images
    assert (small.layout.scratch_size == 0) == store
    for found, expected in zip(results(small, shape), results(large, shape), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_little_memory_takes_images_few_at_a_time(monkeypatch):
    expected = results(backend())
    monkeypatch.setenv(MEMORY_VARIABLE, "1e-6")
    for found, wanted in zip(results(backend()), expected, strict=True):
        np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("value", ["0", "much", "-1", "inf"])
def test_an_impossible_bound_on_memory_is_refused(monkeypatch, value):
    monkeypatch.setenv(MEMORY_VARIABLE, value)
    with pytest.raises(ConfigError, match=f"{MEMORY_VARIABLE}={value!r}.*GiB above 0"):
        backend()


def test_what_it_cannot_serve_is_left_to_others():
    with pytest.raises(NotSuitable, match="up to 32 columns"):
        backend(shape=(8, 33, 1))
    with pytest.raises(NotSuitable, match="too little shared memory"):
        backend(shared_bytes=8)


def test_pixels_whose_squares_overflow_are_named():
    kernels, x = backend(), images(2)
    x[1] *= 1e25
    with pytest.raises(InputError, match=r"Image 1 of 2 .*float64"):
        kernels.prepare(x)


@pytest.mark.parametrize("guard_before", [False, True])
@pytest.mark.parametrize(
    ("text", "shape"), [("Conv-Vec8", (3, 4, 1)), ("conv relu conv relu conv relu gap dense", (5, 3, 2))]
)
def test_many_filters_on_small_images_stay_in_the_room_around_them(text, shape, guard_before):
    for shared_bytes in (200_000, 1_000):
        results(backend(text, shape, shared_bytes=shared_bytes, guard_before=guard_before), shape)


def test_two_blocks_share_a_multiprocessor_where_planes_and_an_image_fit():
    device = HostDevice(shared_bytes=227 * 1024)  # as an H100
    device.warps = partial(CupyDevice.warps, device)
    shapes = {}
    for text, dtype in itertools.product(("ConvNet", "Myrtle-5"), DTYPES):
        nets = make_nets(parse_architecture(text), (32, 32, 3))
        layout = choose_layout(*nets, (32, 32, 3), dtype, device)
        assert layout.forward.blocks * (layout.forward.shared_bytes + 1024) <= 228 * 1024
        shapes[text, dtype.name] = [(b.warps, b.blocks, b.images) for b in (layout.forward, layout.others)]
    assert shapes == {
        ("ConvNet", "float32"): [(16, 2, 1), (16, 1, 2)],
        ("ConvNet", "float64"): [(16, 1, 1), (16, 1, 1)],
        ("Myrtle-5", "float32"): [(20, 2, 2), (24, 1, 2)],
        ("Myrtle-5", "float64"): [(8, 2, 2), (16, 1, 2)],
    }


@pytest.mark.parametrize(("text", "shape"), [("ConvNet", (32, 32, 3)), ("ConvNet", (29, 31, 1)), (GAP, (13, 11, 2)),
                                             ("Myrtle-5", (16, 16, 1))])  # fmt: skip
def test_tasks_of_a_phase_add_to_different_elements_and_all_planes_are_there(text, shape):
    for net in make_nets(parse_architecture(text), shape):
        for level, following in zip(net.levels, [*net.levels[1:], None], strict=True):
            ends = net.phases[level["first_phase"] : level["first_phase"] + level["n_phases"] + 1]
            pairs = 0
            for start, stop in itertools.pairwise(ends):
                touched = set()
                for task in net.lanes[start:stop]:
                    mine = set()
                    for _, _, rows, flags, _, _, top, end, *starts, stride, _ in task.tolist():
                        pairs += rows
                        if level["emit"] == "pool" and flags & 8:
                            last = min(top + rows, end)
                            mine |= {starts[y % 2] + y // 2 * stride for y in range(top, last)
                                     if starts[y % 2] >= -(1 << 29)}  # fmt: skip
                    assert not touched & mine
                    touched |= mine
                if level["emit"] == "pool":
                    size = following["t_store"] - following["s_store"] if following["tangent_in"] else net.store_size
                    assert all(0 <= at < size for at in touched)
            height, width = level["height"], level["width"]
            expected = sum((height - abs(dy)) * (width - abs(dx))
                           for dy in range(-level["radius_y"], level["radius_y"] + 1)
                           for dx in range(-level["radius_x"], level["radius_x"] + 1))  # fmt: skip
            assert pairs == expected


def test_the_stand_in_finds_threads_that_wait_for_each_other(tmp_path):
    source = tmp_path / "stuck.cpp"
    source.write_text("""#include "cuda_on_host.hpp"
    extern "C" __global__ void some_wait() { if (threadIdx.x < 40) __syncthreads(); }
    extern "C" __global__ void one_lane_is_missing(float* out) {
      if (threadIdx.x != 3) out[threadIdx.x] = __shfl_up_sync(~0u, 1.0f, 1);
    }
    extern "C" __global__ void all_meet(float* out) {
      const float left = __shfl_up_sync(~0u, float(threadIdx.x), 1);
      shared_memory[threadIdx.x] = left;
      __syncthreads();
      out[threadIdx.x] = shared_memory[(threadIdx.x + 32) % 64] + (threadIdx.x < 64 ? 0 : NAN);
    }
    extern "C" int run(int which, float* out) {
      void* arguments[] = {&out};
      if (which == 0) return cuda_on_host::launch(some_wait, 1, 64, 0, arguments);
      if (which == 1) return cuda_on_host::launch(one_lane_is_missing, 1, 64, 0, arguments);
      return cuda_on_host::launch(all_meet, 1, 64, 0, arguments);
    }""")
    library = tmp_path / "stuck.so"
    subprocess.run(["g++", "-std=c++17", "-shared", "-fPIC", "-w", f"-I{FOLDER}", "-o", library, source], check=True)
    run, out = ctypes.CDLL(str(library)).run, np.zeros(64, np.float32)
    address = ctypes.c_void_p(out.ctypes.data)
    assert [run(which, address) for which in range(3)] == [1, 1, 0]
    lane = np.arange(64)
    np.testing.assert_array_equal(out, np.roll(np.where(lane % 32, lane - 1, lane), 32))


@pytest.mark.parametrize(("variables", "rank"), [
    ({}, 0), ({"OMPI_COMM_WORLD_LOCAL_RANK": "3"}, 3), ({"SLURM_LOCALID": "2"}, 2),
    ({"OMPI_COMM_WORLD_LOCAL_RANK": "1", "SLURM_LOCALID": "0"}, 1),
])  # fmt: skip
def test_a_rank_knows_its_number_on_the_node(monkeypatch, variables, rank):
    for name in list(os.environ):
        if name in ("OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "PMI_LOCAL_RANK", "SLURM_LOCALID"):
            monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cupy_device.local_rank() == rank


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("pairs", "rows"), [(3, 0), (7, 1), (8, 2)], ids=["nothing is kept", "some", "all of it"])
def test_a_sweep_gives_the_same_bits_whatever_it_keeps(monkeypatch, dtype, pairs, rows):
    monkeypatch.setattr(cuda_sweep, "_FEWEST_AT_ONCE", 4)
    kernels = backend(dtype=dtype)
    monkeypatch.setattr(kernels, "temporary_bytes", 2 * pairs * kernels.plane_size * kernels.dtype.itemsize)
    h1, h2 = kernels.prepare(images(2)), kernels.prepare(images(10, seed=1))
    block, cotangent = to_host(kernels.block(h1, h2)), np.random.default_rng(2).normal(size=(2, 10))
    sweep = kernels.sweep(h1)
    for start in range(0, 10, 4):
        part = slice(start, min(start + 4, 10))
        np.testing.assert_array_equal(to_host(sweep.block(h2[part])), block[:, part])
        sweep.add(cotangent[:, part])
    np.testing.assert_array_equal(to_host(sweep.finish()), to_host(kernels.block_vjp(h1, h2, cotangent)))
    assert sweep._n_kept == rows
