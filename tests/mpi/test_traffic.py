"""What is counted of what the ranks say to each other: all of it, only while somebody listens, nothing on one rank."""

import numpy as np
import pytest
from host_cuda.host_device import HostDevice

from mpi4py import MPI

from hpcdistill.mpi import collectives as c
from hpcdistill.mpi import gpu_arrays
from hpcdistill.mpi.dealing import dealing
from hpcdistill.mpi.traffic import counted, pickled_bytes


def talk(comm):
    c.sum_array(comm, np.zeros((2, 7)))
    c.bcast_array(comm, np.zeros(3, np.int32))
    c.agree_any(comm, False)
    with c.agree(comm):
        pass
    c.bcast_object(comm, {"a": 1})
    c.gather_objects(comm, None)
    if comm.Get_rank() == 1:
        c.send_array(comm, np.zeros(5), 0)
    if comm.Get_rank() == 0 and comm.Get_size() > 1:
        c.receive_array(comm, np.zeros(5), 1)


SAID = {
    "Allreduce": (1, 112),
    "Bcast": (1, 12),
    "allreduce": (2, 16),
    "bcast": (1, pickled_bytes({"a": 1})),
    "allgather": (1, pickled_bytes(None)),
}


def messages(traffic):
    return {name: (traffic.calls[name], traffic.bytes[name]) for name in traffic.calls}


def test_calls_and_bytes_by_kind(comm):
    with counted() as traffic:
        talk(comm)
    talk(comm)
    other = {0: {"Recv": (1, 40)}, 1: {"Send": (1, 40)}}.get(comm.Get_rank(), {})
    assert messages(traffic) == (SAID | other if comm.Get_size() > 1 else {})


def test_one_rank_says_nothing():
    with counted() as traffic:
        talk(MPI.COMM_SELF)
    assert messages(traffic) == {}


def test_listeners_within_listeners(comm):
    with counted() as outer:
        c.agree_any(comm, False)
        with counted() as inner:
            c.agree_any(comm, False)
        c.agree_any(comm, False)
    several = comm.Get_size() > 1
    assert messages(outer) == ({"allreduce": (3, 24)} if several else {})
    assert messages(inner) == ({"allreduce": (1, 8)} if several else {})


def test_an_error_ends_the_listening(comm):
    heard = []

    def fail():
        with counted() as traffic, c.agree(comm):
            heard.append(traffic)
            raise ValueError("ended")

    with pytest.raises(ValueError, match="ended"):
        fail()
    before = messages(heard[0])
    talk(comm)
    assert messages(heard[0]) == before
    assert ("bcast" in before) == (comm.Get_size() > 1)


def test_pieces_are_calls(comm, monkeypatch):
    monkeypatch.setattr(c, "PIECE_ELEMENTS", 4)
    with counted() as traffic:
        c.sum_array(comm, np.zeros(9))
    assert messages(traffic) == ({"Allreduce": (3, 72)} if comm.Get_size() > 1 else {})


def test_sums_in_gpus(comm, monkeypatch):
    monkeypatch.setattr(gpu_arrays, "STAGED_ELEMENTS", 4)
    device = HostDevice()
    with counted() as traffic:
        gpu_arrays.sum_gpu_array(comm, device, device.xp.zeros(9, np.float32))
    assert messages(traffic) == ({"Allreduce": (3, 36)} if comm.Get_size() > 1 else {})


def test_numbers_that_are_dealt_out(comm):
    with counted() as traffic, dealing(comm, 10) as numbers:
        mine = len(list(numbers))
    assert messages(traffic) == ({"Fetch_and_op": (mine + 1, 8 * (mine + 1))} if comm.Get_size() > 1 else {})


def test_arrays_in_objects_count_whole():
    assert pickled_bytes(np.zeros(1000)) - pickled_bytes(np.zeros(0)) == pytest.approx(8000, abs=20)
