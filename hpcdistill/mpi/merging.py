"""Many parts merged into one, each computed by whichever rank is free, with a result that does not show by whom.

A rank merges what it has got as soon as both halves are there; the rest is merged at the end, where the left half is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, gather_objects, receive_array, send_array
from hpcdistill.mpi.dealing import dealing
from hpcdistill.mpi.tree import Node, Tree


@dataclass(frozen=True)
class Merging(Tree):
    """What is merged along a tree. Not collective.

    Attributes:
        part: computes one; called on one rank for each.
        merge: makes one array of two neighbours, the left one first.
        like: returns an array of the shape and dtype that a half-open range of parts has when it is merged.
    """

    part: Callable[[int], np.ndarray]
    merge: Callable[[np.ndarray, np.ndarray], np.ndarray]
    like: Callable[[int, int], np.ndarray]

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


def merge_dealt(comm: MPI.Intracomm, tree: Merging) -> tuple[np.ndarray | None, int]:
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
    comm: MPI.Intracomm, tree: Merging, held: dict[Node, np.ndarray], owners: dict[Node, int], left: Node
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
