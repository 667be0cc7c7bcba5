"""How much the ranks say to each other: the same numbers that `mpi.traffic` counts, from sizes alone.

tests/mpi/test_exchange.py compares them with what is counted. Nothing here grows with the number of targets.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hpcdistill.linalg.blockcyclic import DEFAULT_BLOCK, near_square_grid
from hpcdistill.mpi.partition import PIECE_ELEMENTS, STAGED_ELEMENTS
from hpcdistill.mpi.traffic import pickled_bytes
from hpcdistill.mpi.tree import Tree

#: Calls and bytes by kind of message, as in `mpi.traffic.Traffic`.
Messages = dict[str, tuple[int, int]]

_NUMBER = 8


@dataclass(frozen=True)
class StepSizes:
    """What decides how much a step of KIP exchanges.

    Attributes:
        images, pixels, classes: support images, numbers in one of them (h · w · c), and classes.
        learns_labels, learns_temperature: whether Adam has rates for them, beside that of the images.
        chooses_solver: `solve.method` is "auto", about which the ranks agree.
        is_distributed: `K_ss` is factored by ScaLAPACK: support of 4,096 images or more on CPUs and several ranks, or
            one that does not fit a GPU.
        is_staged: kernels are on GPUs, and their arrays go through the host (`HPCDISTILL_GPU_AWARE_MPI` is not set).
    """

    images: int
    pixels: int
    classes: int
    learns_labels: bool = True
    learns_temperature: bool = False
    chooses_solver: bool = True
    is_distributed: bool = False
    is_staged: bool = False


class _Tally:
    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    def array(self, name: str, elements: int, item_bytes: int = _NUMBER, at_once: int = PIECE_ELEMENTS) -> None:
        """Note an array that travels in pieces."""
        self._calls[name] += -(-elements // at_once)
        self._bytes[name] += elements * item_bytes

    def agree(self, times: int) -> None:
        """Note agreements on a number."""
        self._calls["allreduce"] += times
        self._bytes["allreduce"] += times * _NUMBER

    def object(self, value: object) -> None:
        """Note an object that one rank gives to all."""
        self._calls["bcast"] += 1
        self._bytes["bcast"] += pickled_bytes(value)

    def messages(self) -> Messages:
        return {name: (calls, self._bytes[name]) for name, calls in self._calls.items()}


def exchanged_per_step(sizes: StepSizes, ranks: int, *, in_run: bool = True) -> Messages:
    """Return what each rank gives to MPI, or gets from it, in a step of KIP: `{kind: (calls, bytes)}`. Not collective.

    Bytes are exactly those that are counted, on any number of ranks: messages do not become more or larger with it.
    What a library makes of them does; see `scaling`.

    Args:
        ranks: nothing is exchanged on 1.
        in_run: with what a run adds to the gradient and the update that `hpcdistill bench step` times: it asks whether
            it is to end, and tells the time. Evaluations, checkpoints and `kip.hours` are not in it.
    """
    if ranks == 1:
        return {}
    tally = _Tally()
    _factor_and_solve(tally, sizes, ranks)
    _sum_gradient(tally, sizes)
    _broadcast_state(tally, sizes)
    if in_run:
        tally.agree(2)
        tally.object(0.0)
    return tally.messages()


def _factor_and_solve(tally: _Tally, sizes: StepSizes, ranks: int) -> None:
    """`K_ss`, or what its factor in tiles needs, and two solves with it."""
    n = sizes.images
    tally.agree(3 + sizes.chooses_solver)  # images are prepared; tiles are computed; factored, or checked
    if not sizes.is_distributed:
        tally.array("Allreduce", n * n, at_once=_at_once(sizes))
        return
    tally.array("Allreduce", 1)  # the trace
    tally.object((n, n, DEFAULT_BLOCK, DEFAULT_BLOCK, *near_square_grid(ranks)))
    tally.object("float64")
    tally.agree(2)
    for _ in range(2):
        tally.object((n, sizes.classes))
        tally.agree(1)
        tally.array("Allreduce", n * sizes.classes)


def _sum_gradient(tally: _Tally, sizes: StepSizes) -> None:
    """Loss, hits and slope with `K_tsᵀ R`; the gradient of the images; whether all of it is finite."""
    tally.agree(2)
    tally.array("Allreduce", 3 + sizes.images * sizes.classes)
    tally.array("Allreduce", sizes.images * sizes.pixels, at_once=_at_once(sizes))
    tally.object(True)


def _broadcast_state(tally: _Tally, sizes: StepSizes) -> None:
    """What is learned, each with Adam's two moments and count where it has a rate."""
    parameters = (
        (sizes.images * sizes.pixels, True),
        (sizes.images * sizes.classes, sizes.learns_labels),
        (1, sizes.learns_temperature),
    )
    for elements, is_learned in parameters:
        for _ in range(3 if is_learned else 1):
            tally.array("Bcast", elements)
        if is_learned:
            tally.array("Bcast", 1, item_bytes=4)


def _at_once(sizes: StepSizes) -> int:
    return STAGED_ELEMENTS if sizes.is_staged else PIECE_ELEMENTS


def exchanged_per_chunk(columns: int, count: int, length: int, ranks: int) -> Messages:
    """Return what is exchanged while a chunk of Label Solve is reduced. Not collective.

    Which rank sends what depends on who was free. `Send` (as much is received) is what all ranks together send at most,
    where no two neighbours are on one rank; `Fetch_and_op` is exactly what they ask for together, a number for each
    node that is dealt out and each rank's last question. `Bcast` and `allreduce` are each rank's own, and exact.

    Args:
        columns: support images and classes.
        count: targets of the chunk.
        length: of a piece, from `mpi.partition.piece_rows`.
        ranks: nothing is exchanged on 1.
    """
    if ranks == 1:
        return {}
    tree = Tree(-(-count // length))
    nodes = tree.dealt_out(ranks)
    ranges = [tree.range(half) for half in tree.pairs(nodes)]
    sent = [columns * _NUMBER * min(columns, min(stop * length, count) - start * length) for start, stop in ranges]
    tally, questions = _Tally(), len(nodes) + ranks
    tally.array("Bcast", columns * columns)
    tally.agree(1)
    return tally.messages() | {
        "Send": (len(sent), sum(sent)),
        "Fetch_and_op": (questions, questions * _NUMBER),
    }
