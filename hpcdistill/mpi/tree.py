r"""The order in which many parts are merged into one, whoever computes them.

The parts are the leaves of a binary tree that depends on their number alone:

    level 2        0               node (level, place) is of the parts place·2^level … (place + 1)·2^level,
                 /   \             as far as there are any
    level 1     0     1
               / \   / \           a node is its left half merged with its right half: always those two,
    level 0   0   1 2   3          in this order, whoever has them

Whole nodes are dealt out, large ones first and small ones last, so that ranks of any speed end together (`merging`).
Nothing here communicates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

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
    """The tree of so many parts, at least 1."""

    count: int

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

    def pairs(self, nodes: list[Node]) -> list[Node]:
        """Return the right halves that are merged above nodes that are dealt out, each with its left neighbour."""
        above: set[Node] = set()
        for node in nodes:
            while node != self.root and (node := node.parent) not in above:
                above.add(node)
        halves = [Node(node.level - 1, 2 * node.place + 1) for node in sorted(above)]
        return [half for half in halves if self.exists(half)]
