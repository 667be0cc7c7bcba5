import pytest

from hpcdistill.mpi.collectives import agree, gather_objects
from hpcdistill.mpi.dealing import dealing


@pytest.mark.parametrize("total", [0, 1, 100])
def test_each_number_is_given_out_once(comm, total):
    with dealing(comm, total) as numbers:
        mine = list(numbers)
    assert sorted(number for each in gather_objects(comm, mine) for number in each) == list(range(total))
    assert mine == sorted(mine)


def test_a_rank_that_is_slow_gets_fewer(comm):
    """… and not the share of a static split: here none after its first, as it waits for the others to end."""
    with dealing(comm, 50) as numbers:
        mine = []
        for number in numbers:
            mine.append(number)
            if comm.Get_rank() == 0 and comm.Get_size() > 1:
                while numbers._add(0) < 50:
                    pass
    counts = [len(each) for each in gather_objects(comm, mine)]
    assert sum(counts) == 50
    assert comm.Get_size() == 1 or counts[0] <= 1


def test_stopped_on_one_rank(comm):
    with dealing(comm, 10**9) as numbers:
        for number in numbers:
            if number >= 10:
                numbers.stop()
    gather_objects(comm, None)  # all come to here


def test_an_error_on_one_rank_ends_all(comm):
    def work():
        with agree(comm), dealing(comm, 10**9) as numbers:
            for _ in numbers:
                numbers.attend()
                if comm.Get_rank() == comm.Get_size() - 1:
                    raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        work()
