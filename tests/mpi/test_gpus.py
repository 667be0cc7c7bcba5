"""What ranks are told of their GPUs before a run."""

import platform

import pytest
from host_cuda.host_device import HostDevice

from hpcdistill.errors import EnvironmentSetupError
from hpcdistill.mpi.gpu_arrays import GPU_AWARE_VARIABLE
from hpcdistill.run.gpus import check_gpus, most_ranks_of_a_gpu


class Kernels:
    """All that is looked at."""

    def __init__(self, device):
        self.ts = self
        self.device = device


class Gpu(HostDevice):
    def __init__(self, bus_id):
        super().__init__()
        self.bus_id = bus_id


class Listener:
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


def said(comm, device):
    listener = Listener()
    check_gpus(comm, Kernels(device), listener)
    return listener.said


def test_only_several_ranks_of_one_gpu_are_worth_a_word(comm):
    shared = said(comm, Gpu("0000:17:00.0"))
    if comm.Get_size() > 1:
        assert shared == [
            f"warning: {comm.Get_size()} ranks share one GPU; one rank per GPU is faster (slurm/gpu.toml)"
        ]
    else:
        assert shared == []
    assert said(comm, Gpu(f"0000:{comm.Get_rank()}:00.0")) == []
    assert said(comm, None) == []


def test_gpus_of_other_nodes_are_others(comm):
    assert most_ranks_of_a_gpu([("a", "17"), ("b", "17"), ("a", None), ("a", None)]) == 0
    assert most_ranks_of_a_gpu([("a", "17"), ("b", "17"), ("a", "18"), ("a", "17")]) == 2


def test_a_trial_of_gpu_aware_mpi_is_announced_since_it_may_end_the_job(comm, monkeypatch):
    monkeypatch.setenv(GPU_AWARE_VARIABLE, "1")
    wanted = [f"trying MPI on the memory of GPUs ({GPU_AWARE_VARIABLE}=1): if the job ends here, unset it"]
    assert said(comm, Gpu(f"0000:{comm.Get_rank()}:00.0")) == (wanted if comm.Get_size() > 1 else [])


def test_ranks_without_a_gpu_beside_ranks_with_one_are_refused(comm):
    if comm.Get_size() > 1:
        device = Gpu("0000:17:00.0") if comm.Get_rank() else None
        with pytest.raises(EnvironmentSetupError, match=f"those on {platform.node()} find none.*kernel.backend=native"):
            said(comm, device)
