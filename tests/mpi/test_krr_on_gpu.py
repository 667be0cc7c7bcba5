"""Kernel ridge regression where kernels are arrays of a GPU: against the same on CPUs, and itself on one rank."""

import numpy as np
import pytest
from host_cuda.host_device import HostDevice
from problems import CLASSES, SHAPE, images, labels, targets

from mpi4py import MPI

from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import NotPositiveDefiniteError
from hpcdistill.kernels import sweep
from hpcdistill.kernels.cuda import CudaBackend
from hpcdistill.kernels.native import NativeBackend
from hpcdistill.learning.assemble import Kernels
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.learning.loss import CrossEntropy, SquaredError
from hpcdistill.learning.workspace import GpuWorkspace, HostWorkspace
from hpcdistill.linalg.gpu import GpuCholesky
from hpcdistill.linalg.replicated import ReplicatedCholesky
from hpcdistill.linalg.scalapack import ScalapackCholesky
from hpcdistill.methods.label_solve.reduction import QR, reduce_chunk, solve_labels
from hpcdistill.mpi.gpu_arrays import GPU_AWARE_VARIABLE

pytestmark = pytest.mark.most_ranks(2)

NETWORK, REG = parse_architecture("conv relu pool conv relu flatten dense"), 1e-3
FLOAT64, FLOAT32 = np.dtype(np.float64), np.dtype(np.float32)
SIZES = [(1, 1), (5, 7)]


def on_gpu(device, dtype_ts=FLOAT64):
    ss = CudaBackend(NETWORK, SHAPE, FLOAT64, device)
    return Kernels(ss, ss if dtype_ts == FLOAT64 else CudaBackend(NETWORK, SHAPE, dtype_ts, device))


def on_cpu():
    backend = NativeBackend(NETWORK, SHAPE, FLOAT64)
    return Kernels(backend, backend)


def gradient(comm, kernels, n_s, n_t, solver="auto", loss=None):
    support = KernelRegression(comm, kernels, images(n_s, 0), REG, solver)
    result = support.gradient(labels(n_s, 0), targets(n_t), loss)
    support.close()
    return result


def assert_same(found, wanted, bound):
    assert found.loss == pytest.approx(wanted.loss, rel=bound)
    assert found.accuracy == wanted.accuracy
    for name in ("images", "labels"):
        a, b = getattr(found, name), getattr(wanted, name)
        assert isinstance(a, np.ndarray)
        np.testing.assert_allclose(a, b, rtol=0, atol=bound * np.abs(b).max())


@pytest.mark.parametrize(("n_s", "n_t"), SIZES)
@pytest.mark.parametrize("loss", [SquaredError(), CrossEntropy(2.0)], ids=["squared error", "cross-entropy"])
def test_the_gradient_is_that_of_cpus(comm, device, n_s, n_t, loss):
    found, wanted = (gradient(comm, pair, n_s, n_t, loss=loss) for pair in (on_gpu(device), on_cpu()))
    assert_same(found, wanted, 1e-10)
    assert found.log_temperature == pytest.approx(wanted.log_temperature, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize(("n_s", "n_t"), SIZES)
@pytest.mark.parametrize("solver", ["replicated", "scalapack"])
def test_any_number_of_ranks_gives_the_same(comm, device, n_s, n_t, solver):
    kernels = on_gpu(device)
    assert_same(gradient(comm, kernels, n_s, n_t, solver), gradient(MPI.COMM_SELF, kernels, n_s, n_t), 1e-10)


def test_mixed_precision_is_near_float64(comm, device):
    exact, mixed = (gradient(comm, on_gpu(device, dtype), 5, 7) for dtype in (FLOAT64, FLOAT32))
    assert mixed.images.dtype == FLOAT64
    np.testing.assert_allclose(mixed.images, exact.images, rtol=0, atol=1e-3 * np.abs(exact.images).max())


def test_sums_by_mpi_and_through_the_host_are_the_same(comm, monkeypatch):
    kernels = on_gpu(HostDevice())
    staged = gradient(comm, kernels, 5, 7)
    monkeypatch.setenv(GPU_AWARE_VARIABLE, "1")
    direct = gradient(comm, kernels, 5, 7)
    for name in ("images", "labels"):
        np.testing.assert_array_equal(getattr(direct, name), getattr(staged, name))


def test_many_chunks_of_rows_give_the_same(comm, device, monkeypatch):
    whole = gradient(comm, on_gpu(device), 5, 20)
    monkeypatch.setattr(sweep.RepeatedSweep, "at_once", 3)
    assert_same(gradient(comm, on_gpu(device), 5, 20), whole, 1e-12)


def test_evaluations_are_those_of_cpus(comm, device):
    there, here = (KernelRegression(comm, kernels, images(5, 0), REG) for kernels in (on_gpu(device), on_cpu()))
    found, wanted = (support.evaluate(labels(5, 0), targets(20)) for support in (there, here))
    assert found.loss == pytest.approx(wanted.loss, rel=1e-12)
    np.testing.assert_array_equal(found.confusion, wanted.confusion)


def test_solved_labels_are_those_of_cpus(comm, device):
    solved = []
    for kernels in (on_gpu(device), on_cpu()):
        support, n_t = KernelRegression(comm, kernels, images(5, 0), REG), 20
        square = reduce_chunk(comm, support, targets(n_t), np.zeros((8, 8)), QR)
        solved.append(solve_labels(comm, kernels, support, square, n_t, QR))
    assert solved[0].loss == pytest.approx(solved[1].loss, rel=1e-10)
    np.testing.assert_allclose(solved[0].labels, solved[1].labels, rtol=0, atol=1e-9 * np.abs(solved[1].labels).max())


@pytest.mark.parametrize(("memory_bytes", "fits"), [(4 * 8 * 36, True), (4 * 8 * 36 - 1, False)])
def test_the_gpu_factors_what_fits_it_on_every_rank(comm, memory_bytes, fits):
    """Where it does not fit one rank's GPU, no rank uses its own."""
    last = comm.Get_rank() == comm.Get_size() - 1
    kernels = on_gpu(HostDevice(memory_bytes=memory_bytes if last else 2**30))
    small, large = (KernelRegression(comm, kernels, images(n, 0), REG) for n in (6 if fits else 5, 6 + fits))
    assert type(small.factor) is GpuCholesky
    assert type(large.factor) is (ScalapackCholesky if comm.Get_size() > 1 else ReplicatedCholesky)
    assert_same(large.gradient(labels(large.n, 0), targets(7)), gradient(comm, on_cpu(), large.n, 7), 1e-10)
    assert (type(small.ss_workspace), type(large.ss_workspace)) == (GpuWorkspace, HostWorkspace)
    large.close()


def test_labels_are_solved_where_the_support_kernel_fits(comm):
    kernels, size = on_gpu(HostDevice(memory_bytes=1)), 5 + CLASSES
    support = KernelRegression(comm, kernels, images(5, 0), REG)
    square = reduce_chunk(comm, support, targets(20), np.zeros((size, size)), QR)
    found = solve_labels(comm, kernels, support, square, 20, QR)
    support.close()
    fitting = KernelRegression(comm, on_gpu(HostDevice()), images(5, 0), REG)
    wanted = solve_labels(comm, fitting.kernels, fitting, square, 20, QR)
    np.testing.assert_allclose(found.labels, wanted.labels, rtol=0, atol=1e-12 * np.abs(wanted.labels).max())


def test_a_support_kernel_that_is_not_positive_names_the_minor_on_every_rank(comm, device):
    with pytest.raises(NotPositiveDefiniteError, match=r"order 1 is not positive.*solve.reg") as info:
        KernelRegression(comm, on_gpu(device), images(6, 0), -2.0)
    assert comm.allgather(info.value.minor) == [1] * comm.Get_size()


def test_kernels_in_different_memories_are_refused(comm):
    with pytest.raises(ValueError, match="cuda and of native are in different memories"):
        Kernels(on_gpu(HostDevice()).ss, on_cpu().ts)
