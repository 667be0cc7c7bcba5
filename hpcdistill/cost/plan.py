"""What a run costs on some numbers of ranks: its work at the speeds of a device. Arithmetic alone.

Time is that of kernel entries and dense algebra. All wait for the rank with the largest share. Reading data, fitting
ZCA, messages and files come on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hpcdistill.cost.memory import rank_memory
from hpcdistill.cost.rates import GPU, Device, kernel_name
from hpcdistill.cost.work import Images, Phase, Place, Rows, Tiles, Work


@dataclass(frozen=True)
class Kernel:
    """Whose entries are computed.

    Attributes:
        network: its name.
        kind: "ntk" or "nngp".
        ss, ts: types of the support with itself, and of targets with the support.
        backend: "auto", or one by name.
    """

    network: str
    kind: str
    ss: str
    ts: str
    backend: str = "auto"

    def names(self, network: str, shape: tuple[int, int, int]) -> tuple[str, str]:
        """Return by what speeds of K_ss and K_ts of a network are known."""
        ss, ts = (kernel_name(network, self.kind, shape, dtype, self.backend) for dtype in (self.ss, self.ts))
        return ss, ts


@dataclass(frozen=True)
class Case:
    """A run on a device.

    Attributes:
        cores: of a rank; on a GPU these do not count.
    """

    work: Work
    images: Images
    kernel: Kernel
    device: Device
    cores: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether each rank has a GPU."""
        return self.device.unit == GPU

    @property
    def units(self) -> int:
        """Cores of a rank, or GPUs: one."""
        return 1 if self.on_gpu else self.cores


@dataclass(frozen=True)
class PlanRow:
    """A number of ranks.

    Attributes:
        step_seconds, total_seconds: of a step, and of the run.
        steps: how many there are; where time decides, how many fit.
        device_hours: core-hours, or GPU-hours.
        rank_bytes: memory that each rank needs.
        sent_bytes: what a rank gives to MPI, or gets from it, in a step.
    """

    ranks: int
    step_seconds: float
    steps: int
    total_seconds: float
    device_hours: float
    rank_bytes: float
    sent_bytes: int


def plan_row(case: Case, ranks: int) -> PlanRow:
    """Return what a run costs on so many ranks.

    Raises:
        ConfigError: the device has no speed for the network, the images and the type.
    """
    work, place = case.work, Place(ranks, case.on_gpu)
    step, total = phase_seconds(case, work.step, ranks), total_seconds(case, ranks)
    steps = int(work.hours * 3600 / step) if work.hours and step else work.step.times
    sent = sum(n_bytes for _, n_bytes in work.step.messages(place).values())
    hours = total / 3600 * ranks * case.units
    return PlanRow(ranks, step, steps, total, hours, rank_memory(work.rank_bytes(place)), sent)


def total_seconds(case: Case, ranks: int) -> float:
    """Return the time of a run; see `plan_row`."""
    if case.work.hours:
        return case.work.hours * 3600
    return sum(phase.times * phase_seconds(case, phase, ranks) for phase in case.work.phases if phase.times)


def phase_seconds(case: Case, phase: Phase, ranks: int) -> float:
    """Return the time of a phase, once; the mean over networks that are drawn from."""
    networks = phase.networks or (case.kernel.network,)
    kernels = sum(_kernel_seconds(case, phase, network, ranks) for network in networks) / len(networks)
    gflops = case.device.gflops.get(phase.dense)
    if not gflops:
        return kernels
    return kernels + (phase.flops + phase.shared_flops / ranks) / (gflops * 1e9 * case.units)


def _kernel_seconds(case: Case, phase: Phase, network: str, ranks: int) -> float:
    seconds = 0.0
    ss, ts = case.kernel.names(network, case.images.shape)
    parts: list[tuple[str, Tiles | Rows]] = [(ss, tiles) for tiles in phase.tiles]
    parts += [(ts, rows) for rows in phase.rows]
    for name, part in parts:
        speed = case.device.speed(name)
        seconds += part.share(ranks) / (speed.gradient if part.gradient else speed.forward)
        seconds += part.count / ranks / speed.images if isinstance(part, Rows) else 0.0
    return seconds / case.units


def needed_names(work: Work, kernel: Kernel, shape: tuple[int, int, int]) -> list[tuple[str, str]]:
    """Return networks and types of all kernels that a run computes, each once."""
    needed = dict.fromkeys(
        (network, dtype)
        for phase in work.phases
        for network in phase.networks or (kernel.network,)
        for dtype, parts in ((kernel.ss, phase.tiles), (kernel.ts, phase.rows))
        if parts
    )
    return list(needed)


@dataclass(frozen=True)
class Node:
    """A node: ranks on it, and its memory in bytes."""

    ranks: int
    memory: float


#: Numbers of ranks that are tried to find the smallest that fits.
MOST_RANKS = 2**16


def node_bytes(case: Case, ranks: int, on_node: int) -> float:
    """Return what the ranks of a node need, with the data that they share: at most 4 bytes for each pixel."""
    per_rank = rank_memory(case.work.rank_bytes(Place(ranks, case.on_gpu)))
    return min(ranks, on_node) * per_rank + 4.0 * case.images.in_all * case.images.pixels


def fewest_ranks(case: Case, node: Node) -> int:
    """Return the smallest number of ranks, up to a node's and on whole nodes, that fits the memory of each; or 0."""
    numbers = list(range(1, node.ranks + 1))
    numbers += [node.ranks * 2**power for power in range(1, 17) if node.ranks * 2**power <= MOST_RANKS]
    return next((ranks for ranks in numbers if node_bytes(case, ranks, node.ranks) <= node.memory), 0)


def why_too_large(case: Case, ranks: int, node: Node) -> str:
    """Return what does not fit the memory of a node, and what would; "" where it fits."""
    needed = node_bytes(case, ranks, node.ranks)
    if needed <= node.memory:
        return ""
    fewest = fewest_ranks(case, node)
    on = f" on {-(-fewest // node.ranks)} such nodes" * (fewest > node.ranks)
    enough = f"Use {fewest} ranks or more{on}, " if fewest > ranks else "No number of ranks is enough: use "
    here = min(ranks, node.ranks)
    return (
        f"{ranks} rank{'s' * (ranks > 1)}: {here} on a node need {needed / 2**30:.1f} GiB, and it has "
        f"{node.memory / 2**30:.1f} GiB. {enough}{'or ' * (fewest > ranks)}{case.work.remedy}."
    )


def plan_rows(case: Case, ranks: Sequence[int]) -> list[PlanRow]:
    """Return a row for each number of ranks."""
    return [plan_row(case, one) for one in ranks]
