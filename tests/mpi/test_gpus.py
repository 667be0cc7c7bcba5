"""Ranks that share a GPU are told of."""

import dataclasses

from hpcdistill.distill.assemble import Kernels
from hpcdistill.run.gpus import most_ranks_of_a_gpu, warn_of_shared_gpus


@dataclasses.dataclass
class OnGpu:
    bus_id: str


class Listener:
    def __init__(self):
        self.said = []

    def say(self, line):
        self.said.append(line)


def said(comm, backend):
    listener = Listener()
    warn_of_shared_gpus(comm, Kernels(backend, backend), listener)
    return listener.said


def test_only_several_ranks_of_one_gpu_are_worth_a_word(comm):
    shared = said(comm, OnGpu("0000:17:00.0"))
    if comm.Get_size() > 1:
        assert shared == [
            f"warning: {comm.Get_size()} ranks share one GPU; one rank per GPU is faster (slurm/gpu.toml)"
        ]
    else:
        assert shared == []
    assert said(comm, OnGpu(f"0000:{comm.Get_rank()}:00.0")) == []
    assert said(comm, object()) == []


def test_gpus_of_other_nodes_are_others(comm):
    assert most_ranks_of_a_gpu([("a", "17"), ("b", "17"), ("a", None), ("a", None)]) == 0
    assert most_ranks_of_a_gpu([("a", "17"), ("b", "17"), ("a", "18"), ("a", "17")]) == 2
