"""Arrays that the ranks of a node share, on nodes of any size, with shared memory and with too little of it."""

import numpy as np
import pytest

from hpcdistill.mpi import shared
from hpcdistill.mpi.collectives import node_communicator

WANTED = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
#: How the ranks are spread over nodes: all on one, or the first alone and the others together.
NODES = {"one": lambda rank: 0, "the first alone": lambda rank: min(rank, 1), "each alone": lambda rank: rank}


@pytest.fixture(params=NODES)
def node(comm, request):
    part = comm.Split(NODES[request.param](comm.Get_rank()), comm.Get_rank())
    yield part
    comm.Barrier()
    shared.free_windows()
    part.Free()


@pytest.fixture(params=["enough", "too little"])
def memory(request, monkeypatch):
    if request.param == "too little":
        monkeypatch.setattr(shared, "_left", lambda: 1000)
    return request.param


def test_every_rank_sees_the_first_ones_array_and_cannot_change_it(node, memory):
    found = shared.share_array(node, WANTED if node.Get_rank() == 0 else None)
    np.testing.assert_array_equal(found, WANTED)
    assert found.dtype == np.uint8
    with pytest.raises(ValueError, match="read-only"):
        found[0, 0, 0] = 1
    assert shared.share_array(node, np.empty((0, 3)) if node.Get_rank() == 0 else None).shape == (0, 3)


def test_every_rank_writes_its_part(node, memory):
    rank, size = node.Get_rank(), node.Get_size()

    def fill(array):
        array[rank::size] = np.arange(rank, 10, size)

    np.testing.assert_array_equal(shared.fill_shared(node, (10,), np.dtype(np.float64), fill), np.arange(10.0))


def test_too_little_memory_is_told_once_with_what_is_needed(comm, capfd, monkeypatch):
    monkeypatch.setattr(shared, "_left", lambda: 64 << 20)
    node = node_communicator(comm)
    alone = node.Get_size() == 1
    assert shared.has_room(node, 100 << 20) == alone
    assert shared.has_room(node, 10 << 20)
    shared.share_array(node, np.zeros(100 << 20, np.uint8) if node.Get_rank() == 0 else None)
    said = capfd.readouterr().err
    if node.Get_rank() == 0 and not alone:
        assert "has 64 MiB left, too little for 100 MiB of data" in said
        assert "--shm-size" in said
    else:
        assert said == ""
    node.Free()
