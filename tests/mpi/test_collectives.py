import platform

import numpy as np
import pytest

from hpcdistill.errors import DataError, MemoryShortageError, NotPositiveDefiniteError
from hpcdistill.mpi import collectives as c


@pytest.fixture(params=[3, 2**27])
def piece(request, monkeypatch):
    monkeypatch.setattr(c, "PIECE_ELEMENTS", request.param)


def test_sum_array_in_pieces(comm, piece):
    n = comm.Get_size()
    array = np.arange(14.0).reshape(2, 7) * (comm.Get_rank() + 1)
    np.testing.assert_array_equal(c.sum_array(comm, array), np.arange(14.0).reshape(2, 7) * n * (n + 1) / 2)


def test_bcast_array_in_pieces(comm, piece):
    array = np.arange(10) * (1 if comm.Get_rank() == 0 else -1)
    np.testing.assert_array_equal(c.bcast_array(comm, array), np.arange(10))


def test_arrays_that_are_not_contiguous_are_refused(comm):
    with pytest.raises(ValueError, match="C-contiguous"):
        c.sum_array(comm, np.zeros((4, 4))[:, ::2])


def test_bcast_object_with_arrays(comm):
    value = c.bcast_object(comm, {"a": np.arange(5.0), "b": "text"} if comm.Get_rank() == 0 else None)
    np.testing.assert_array_equal(value["a"], np.arange(5.0))
    assert value["b"] == "text"


def test_an_array_from_one_rank_to_another_in_pieces(comm, piece):
    rank, last = comm.Get_rank(), comm.Get_size() - 1
    if rank == last > 0:
        c.send_array(comm, np.arange(14.0).reshape(2, 7), 0)
    elif rank == 0 and last:
        np.testing.assert_array_equal(c.receive_array(comm, np.empty((2, 7)), last), np.arange(14.0).reshape(2, 7))


def test_the_greatest_of_the_ranks_numbers(comm):
    last = comm.Get_size() - 1
    assert c.greatest(comm, comm.Get_rank() * 2**40) == last * 2**40
    assert c.greatest(comm, -comm.Get_rank()) == 0
    assert c.agree_any(comm, comm.Get_rank() == last)
    assert not c.agree_any(comm, False)


def fail_from(failing, rank):
    if rank >= failing:
        raise DataError(f"from rank {rank}")


@pytest.mark.parametrize("failing", [0, 1, 3])
def test_agree_raises_one_ranks_error_everywhere(comm, failing):
    if failing >= comm.Get_size():
        pytest.skip("needs more ranks")
    with pytest.raises(DataError, match=f"from rank {failing}"), c.agree(comm):
        fail_from(failing, comm.Get_rank())


def test_agree_carries_errors_with_arguments_and_foreign_ones(comm):
    with pytest.raises(NotPositiveDefiniteError) as info, c.agree(comm):
        raise NotPositiveDefiniteError(3, 7)
    assert (info.value.minor, info.value.size) == (3, 7)
    with pytest.raises(RuntimeError, match="KeyError"), c.agree(comm):
        raise KeyError("x")


def test_agree_names_the_node_that_has_too_little_memory(comm):
    words = f"out of memory on {platform.node()}: Unable.*fewer ranks per node"
    with pytest.raises(MemoryShortageError, match=words), c.agree(comm):
        np.empty(2**50 if comm.Get_rank() == comm.Get_size() - 1 else 1)


def test_agree_passes_when_all_is_well(comm):
    with c.agree(comm):
        pass


def test_on_root(comm):
    assert c.on_root(comm, lambda: comm.Get_rank()) == 0
    with pytest.raises(DataError):
        c.on_root(comm, lambda: (_ for _ in ()).throw(DataError("only rank 0 runs this")))
