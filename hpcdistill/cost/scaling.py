"""How long a step of KIP takes on many GPUs: a model of compute, messages and the slowest rank. Not collective.

    step = largest share of K_ts + largest share of K_ss and its gradient + Cholesky + sums + broadcasts + agreements

Every rank has the same time for a message: `latency_seconds`, and bytes at `bytes_per_second`. Collectives are as
libraries do them, the quicker of two ways for each size (Thakur, Rabenseifner, Gropp 2005):

- a sum of B bytes over p ranks: along a tree, ⌈log₂ p⌉ (latency + B/bandwidth); or around a ring,
  2 (p − 1) latency + 2 (p − 1)/p · B/bandwidth
- a broadcast: along a tree, the same; or cut up and gathered, (⌈log₂ p⌉ + p − 1) latency + 2 (p − 1)/p · B/bandwidth
"""

from __future__ import annotations

from dataclasses import dataclass

from hpcdistill.cost.exchange import Messages, StepSizes, exchanged_per_step
from hpcdistill.mpi.partition import block_range, square_tiles, support_tile


@dataclass(frozen=True)
class Machine:
    """GPUs and what is between them.

    Attributes:
        step_entries: entries of K_ts per second of a GPU, forward and gradient, as whole steps have it.
        tile_entries, tile_gradients: entries of tiles of K_ss per second, forward, and gradient.
        flops: of a Cholesky factorisation.
        latency_seconds, bytes_per_second: of a message.
        slowest: speed of the slowest rank, 1 where all are alike.
    """

    step_entries: float
    tile_entries: float
    tile_gradients: float
    flops: float
    latency_seconds: float
    bytes_per_second: float
    slowest: float = 1.0


@dataclass(frozen=True)
class StepTime:
    """Seconds of a step, by what they go to; one after the other."""

    targets: float
    support: float
    cholesky: float
    messages: float

    @property
    def total(self) -> float:
        """All of them."""
        return self.targets + self.support + self.cholesky + self.messages


def step_time(sizes: StepSizes, n_targets: int, ranks: int, machine: Machine) -> StepTime:
    """Return the time of a step whose shares are fixed, as they are: all wait for the slowest rank with the largest."""
    start, stop = block_range(n_targets, ranks, 0)
    forward, gradient = (largest_share(sizes.images, ranks, lower=lower) for lower in (True, False))
    support = forward / machine.tile_entries + gradient / machine.tile_gradients
    return StepTime(
        targets=(stop - start) * sizes.images / machine.step_entries / machine.slowest,
        support=support / machine.slowest,
        cholesky=cholesky_seconds(sizes.images, ranks if sizes.is_distributed else 1, machine) / machine.slowest,
        messages=message_seconds(exchanged_per_step(sizes, ranks), ranks, machine),
    )


def largest_share(n: int, ranks: int, *, lower: bool) -> int:
    """Return how many entries of `n × n` the rank has that has most: tiles are dealt out like cards."""
    tiles = square_tiles(n, support_tile(n), lower=lower)
    sizes = [(r[1] - r[0]) * (c[1] - c[0]) for r, c in tiles]
    return max(sum(sizes[rank::ranks]) for rank in range(min(ranks, len(sizes))))


def cholesky_seconds(n: int, ranks: int, machine: Machine) -> float:
    """Return the time of a factorisation: n³/3 operations on each rank, or shared by ranks that form a grid.

    On a grid of √p × √p each rank sends and receives about n²/√p entries ⌈log₂ √p⌉ times, in n/128 rounds of messages.
    """
    seconds = n**3 / 3 / machine.flops / ranks
    if ranks == 1:
        return seconds
    rounds = 2 * max(1, steps_of_tree(ranks) // 2) * -(-n // 128)
    return seconds + rounds * machine.latency_seconds + cholesky_bytes(n, ranks) / machine.bytes_per_second


def cholesky_bytes(n: int, ranks: int, item_bytes: int = 8) -> float:
    """Return what each rank of a grid of several sends in a factorisation."""
    return max(1, steps_of_tree(ranks) // 2) * item_bytes * n * n / ranks**0.5


def message_seconds(messages: Messages, ranks: int, machine: Machine) -> float:
    """Return what a step's messages take, one after the other."""
    if ranks == 1:
        return 0.0
    seconds = 0.0
    for name, (calls, n_bytes) in messages.items():
        one = allreduce_seconds if name.lower() == "allreduce" else bcast_seconds
        seconds += calls * one(n_bytes / calls, ranks, machine)
    return seconds


def allreduce_seconds(n_bytes: float, ranks: int, machine: Machine) -> float:
    """Return the time of a sum of so many bytes: along a tree, or around a ring."""
    ring = 2 * (ranks - 1) * (machine.latency_seconds + n_bytes / ranks / machine.bytes_per_second)
    return min(_tree(n_bytes, ranks, machine), ring)


def bcast_seconds(n_bytes: float, ranks: int, machine: Machine) -> float:
    """Return the time of a broadcast: along a tree, or cut up and gathered."""
    moved = 2 * (ranks - 1) / ranks * n_bytes / machine.bytes_per_second
    cut = (steps_of_tree(ranks) + ranks - 1) * machine.latency_seconds + moved
    return min(_tree(n_bytes, ranks, machine), cut)


def steps_of_tree(ranks: int) -> int:
    """Return ⌈log₂ p⌉."""
    return (ranks - 1).bit_length()


def _tree(n_bytes: float, ranks: int, machine: Machine) -> float:
    return steps_of_tree(ranks) * (machine.latency_seconds + n_bytes / machine.bytes_per_second)
