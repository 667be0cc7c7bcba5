"""Sums of arrays in GPUs: by MPI itself, and through the host. Arrays of the stand-in have CUDA's array interface."""

import numpy as np
import pytest
from host_cuda.arrays import DeviceArray
from host_cuda.host_device import HostDevice

from hpcdistill.errors import ConfigError, EnvironmentSetupError
from hpcdistill.gpu.device import to_host
from hpcdistill.mpi import collectives, gpu_arrays
from hpcdistill.mpi.gpu_arrays import GPU_AWARE_VARIABLE, check_gpu_aware, sum_gpu_array


@pytest.fixture(params=["0", "1"])
def aware(request, monkeypatch, device):
    if request.param == "1" and not isinstance(device, HostDevice):
        pytest.skip("whether this MPI library is GPU-aware is for its user to say: hpcdistill doctor tries it")
    monkeypatch.setenv(GPU_AWARE_VARIABLE, request.param)
    return request.param == "1"


@pytest.mark.parametrize("pieces", [3, 2**27])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_sums_over_the_ranks(comm, monkeypatch, device, aware, dtype, pieces):
    monkeypatch.setattr(collectives, "PIECE_ELEMENTS", pieces)
    monkeypatch.setattr(gpu_arrays, "STAGED_ELEMENTS", pieces)
    n, mine = comm.Get_size(), np.arange(14, dtype=dtype).reshape(2, 7) * (comm.Get_rank() + 1)
    array = device.xp.asarray(mine)
    assert sum_gpu_array(comm, device, array) is array
    np.testing.assert_array_equal(to_host(array), np.arange(14).reshape(2, 7) * n * (n + 1) / 2)


def test_only_contiguous_arrays_are_summed(comm, device, aware):
    array = device.xp.zeros((4, 4), np.float64)[:, ::2]
    if comm.Get_size() > 1:
        with pytest.raises(ValueError, match="C-contiguous"):
            sum_gpu_array(comm, device, array)


def test_what_mpi_can_do_is_tried(comm, device, aware):
    check_gpu_aware(comm, device)


class Copied(DeviceArray):
    """An array of which a library that knows nothing of GPUs sees something else than what is there."""

    @property
    def __cuda_array_interface__(self):
        self._seen = self._memory.copy()
        return super().__cuda_array_interface__ | {"data": (self._seen.ctypes.data, False)}

    def __mul__(self, other):
        return Copied(self._memory * other)

    def reshape(self, *shape):
        return Copied(self._memory.reshape(*shape))

    def __getitem__(self, index):
        return Copied(self._memory[index])


def test_an_mpi_that_does_not_see_the_gpus_memory_is_found_out(comm, monkeypatch):
    device = HostDevice()
    monkeypatch.setattr(device.xp, "arange", lambda n, dtype: Copied(np.arange(n, dtype=dtype)), raising=True)
    check_gpu_aware(comm, device)  # not asked for
    monkeypatch.setenv(GPU_AWARE_VARIABLE, "1")
    if comm.Get_size() == 1:
        check_gpu_aware(comm, device)
    else:
        with pytest.raises(EnvironmentSetupError, match=f"{GPU_AWARE_VARIABLE}=1, but this MPI.*Unset"):
            check_gpu_aware(comm, device)


def test_another_value_is_refused_on_every_rank(comm, monkeypatch):
    if comm.Get_rank() == comm.Get_size() - 1:
        monkeypatch.setenv(GPU_AWARE_VARIABLE, "yes")
    with pytest.raises(ConfigError, match=f"{GPU_AWARE_VARIABLE}='yes' must be 1"):
        check_gpu_aware(comm, HostDevice())
