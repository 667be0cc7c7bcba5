"""Parts that are dealt out to the ranks and merged: once each, always the same two, whoever has them."""

import time

import numpy as np
import pytest

from mpi4py import MPI

from hpcdistill.mpi.collectives import bcast_array, gather_objects
from hpcdistill.mpi.merging import Merging, merge_dealt
from hpcdistill.mpi.tree import Node

COUNTS = [1, 2, 3, 5, 8, 13, 64, 100]


def rows(count, part=lambda number: np.array([float(number)])):
    """Parts of one row each; merged they are put together."""
    return Merging(count, part, lambda a, b: np.concatenate([a, b]), lambda first, last: np.empty(last - first))


def digest(count):
    """A number that tells the order of merges: neither associative nor commutative."""
    return Merging(count, lambda n: np.array([n + 0.5]), lambda a, b: np.sin(2 * a + 3 * b), lambda a, b: np.empty(1))


def merged(comm, tree):
    found, owner = merge_dealt(comm, tree)
    assert (found is not None) == (comm.Get_rank() == owner)
    return bcast_array(comm, tree.like(0, tree.count) if found is None else found, root=owner)


@pytest.mark.parametrize("ranks", [1, 2, 3, 64])
@pytest.mark.parametrize("count", COUNTS)
def test_nodes_that_are_dealt_out_are_all_parts_in_order_and_small_at_the_end(count, ranks):
    tree = rows(count)
    ranges = [tree.range(node) for node in tree.dealt_out(ranks)]
    assert [part for start, stop in ranges for part in range(start, stop)] == list(range(count))
    for start, stop in ranges:
        assert stop - start <= max(1, (count - start) // (2 * ranks))
    assert ranges[-1][1] - ranges[-1][0] == 1


def test_nodes():
    tree = rows(5)
    assert tree.root == Node(3, 0)
    assert [tree.range(Node(2, place)) for place in range(3)] == [(0, 4), (4, 5), (5, 5)]
    assert [tree.exists(Node(1, place)) for place in range(4)] == [True, True, True, False]
    assert (Node(1, 2).sibling, Node(1, 2).parent, Node(1, 3).parent) == (Node(1, 3), Node(2, 1), Node(2, 1))


@pytest.mark.parametrize("count", COUNTS)
def test_pairs_above_what_is_dealt_out_are_one_fewer(count):
    tree = rows(count)
    nodes = tree.dealt_out(3)
    assert len(tree.pairs(nodes)) == len(nodes) - 1
    assert tree.pairs([tree.root]) == []


@pytest.mark.parametrize("count", COUNTS)
def test_every_part_is_there_once_and_in_order(comm, count):
    computed = []

    def part(number):
        computed.append(number)
        return np.array([float(number)])

    np.testing.assert_array_equal(merged(comm, rows(count, part)), np.arange(count))
    assert sorted(number for each in gather_objects(comm, computed) for number in each) == list(range(count))


@pytest.mark.parametrize("count", COUNTS)
def test_ranks_change_no_bit(comm, count):
    np.testing.assert_array_equal(merged(comm, digest(count)), merged(MPI.COMM_SELF, digest(count)))


@pytest.mark.parametrize("slow", [0, 1])
def test_a_slow_rank_computes_less_and_changes_no_bit(comm, slow):
    tree, computed = digest(60), []

    def part(number):
        computed.append(number)
        time.sleep(0.02 if comm.Get_rank() == slow else 0.001)
        return tree.part(number)

    found = merged(comm, Merging(tree.count, part, tree.merge, tree.like))
    np.testing.assert_array_equal(found, merged(MPI.COMM_SELF, tree))
    counts = [len(each) for each in gather_objects(comm, computed)]
    assert comm.Get_size() <= slow or comm.Get_size() == 1 or counts[slow] < 0.8 * 60 / comm.Get_size()


def test_an_error_on_one_rank_ends_all(comm):
    def part(number):
        if number == 7:
            raise ValueError("part 7")
        return np.zeros(1)

    with pytest.raises(ValueError, match="part 7"):
        merge_dealt(comm, rows(40, part))
    np.testing.assert_array_equal(merged(comm, rows(4)), np.arange(4))
