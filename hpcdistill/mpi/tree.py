"""Many parts merged into one, each computed by whichever rank is free, with a result that does not show by whom.

The parts are the leaves of a binary tree that depends on their number alone:

    level 2        0               node (level, place) is of the parts place·2^level … (place + 1)·2^level,
                 /   \\             as far as there are any
    level 1     0     1
               / \\   / \\           a node is its left half merged with its right half: always those two,
    level 0   0   1 2   3          in this order, whoever has them

Whole nodes are dealt out, large ones first and small ones last, so that ranks of any speed end together. A rank merges
what it has got as soon as both halves are there; the rest is merged at the end, where the left half is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, gather_objects, receive_array, send_array
from hpcdistill.mpi.dealing import dealing

#: A node that is dealt out is at most this part of what is left, divided by the number of ranks.
_PART_OF_THE_REST = 2


class Node(NamedTuple):
    """A node of the tree."""

    level: int
    place: int

    @property
    def parent(self) -> Node:
        """The node that this is a half of."""
        return Node(self.level + 1, self.place // 2)

    @property
    def sibling(self) -> Node:
        """The other half."""
        return Node(self.level, self.place ^ 1)


@dataclass(frozen=True)
class Tree:
    """What is merged. Not collective.

    Attributes:
        count: number of parts, at least 1.
        part: computes one; called on one rank for each.
        merge: makes one array of two neighbours, the left one first.
        like: returns an array of the shape and dtype that a half-open range of parts has when it is merged.
    """

    count: int
    part: Callable[[int], np.ndarray]
    merge: Callable[[np.ndarray, np.ndarray], np.ndarray]
    like: Callable[[int, int], np.ndarray]

    @property
    def root(self) -> Node:
        """The node of all parts."""
        return Node((self.count - 1).bit_length(), 0)

    def range(self, node: Node) -> tuple[int, int]:
        """Return the half-open range of a node's parts; empty beyond the last."""
        start = node.place << node.level
        return min(start, self.count), min(start + (1 << node.level), self.count)

    def exists(self, node: Node) -> bool:
        """Return whether a node has parts."""
        return node.place << node.level < self.count

    def dealt_out(self, ranks: int) -> list[Node]:
        """Return the nodes that are dealt out to so many ranks, in order: together all parts."""
        nodes, start = [], 0
        while start < self.count:
            level = max(1, (self.count - start) // (_PART_OF_THE_REST * ranks)).bit_length() - 1
            while start % (1 << level):
                level -= 1
            nodes.append(Node(level, start >> level))
            start += 1 << level
        return nodes

    def compute(self, node: Node, after_each: Callable[[], None]) -> np.ndarray:
        """Return a node, computed from its parts."""
        if node.level == 0:
            value = self.part(node.place)
            after_each()
            return value
        left, right = Node(node.level - 1, 2 * node.place), Node(node.level - 1, 2 * node.place + 1)
        value = self.compute(left, after_each)
        return self.merge(value, self.compute(right, after_each)) if self.exists(right) else value

    def keep(self, held: dict[Node, np.ndarray], node: Node, value: np.ndarray) -> None:
        """Add a node to those that are held, merged with its neighbours as far as they are there."""
        while node != self.root:
            if self.exists(node.sibling):
                if node.sibling not in held:
                    break
                other = held.pop(node.sibling)
                value = self.merge(value, other) if node < node.sibling else self.merge(other, value)
            node = node.parent
        held[node] = value


def merge_dealt(comm: MPI.Intracomm, tree: Tree) -> tuple[np.ndarray | None, int]:
    """Return all parts merged, on one rank, None elsewhere; and which rank that is. Collective.

    What the ranks hold meanwhile is, for all of them together, never more than the parts themselves.

    Raises:
        Exception: what `part` or `merge` raises while nodes are dealt out, on every rank.
    """
    held: dict[Node, np.ndarray] = {}
    nodes = tree.dealt_out(comm.Get_size())
    with agree(comm), dealing(comm, len(nodes)) as numbers:
        for number in numbers:
            tree.keep(held, nodes[number], tree.compute(nodes[number], numbers.attend))
    owners = {node: rank for rank, mine in enumerate(gather_objects(comm, sorted(held))) for node in mine}
    for level in range(tree.root.level):
        for left in sorted(node for node in owners if node.level == level and node.place % 2 == 0):
            _merge_pair(comm, tree, held, owners, left)
    return held.get(tree.root), owners[tree.root]


def _merge_pair(
    comm: MPI.Intracomm, tree: Tree, held: dict[Node, np.ndarray], owners: dict[Node, int], left: Node
) -> None:
    """Merge a node with its right neighbour on the rank that has the left one."""
    right, rank, here = left.sibling, comm.Get_rank(), owners.pop(left)
    there = owners.pop(right, here)
    if rank == here:
        value = held.pop(left)
        if there != here:
            value = tree.merge(value, receive_array(comm, tree.like(*tree.range(right)), there))
        elif right in held:
            value = tree.merge(value, held.pop(right))
        held[left.parent] = value
    elif rank == there:
        send_array(comm, held.pop(right), here)
    owners[left.parent] = here
