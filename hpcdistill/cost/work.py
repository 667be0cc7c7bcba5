"""What a run computes: kernel entries and dense algebra, phase by phase. Arithmetic alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hpcdistill.cost.exchange import Messages
from hpcdistill.cost.scaling import largest_share
from hpcdistill.linalg.blockcyclic import SCALAPACK_FROM, near_square_grid
from hpcdistill.mpi.partition import square_tiles, support_tile


@dataclass(frozen=True)
class Images:
    """Images of a run.

    Attributes:
        train, validation, test: images to train on, those held out, and test images.
        shape: (h, w, c).
        classes: how many.
        in_all: images of the data set, which each node keeps whole.
    """

    train: int
    validation: int
    test: int
    shape: tuple[int, int, int]
    classes: int
    in_all: int

    @property
    def pixels(self) -> int:
        """Numbers in an image, h · w · c."""
        return self.shape[0] * self.shape[1] * self.shape[2]


@dataclass(frozen=True)
class Place:
    """Where a run is: how many ranks, and whether each has a GPU."""

    ranks: int
    on_gpu: bool = False


@dataclass(frozen=True)
class Rows:
    """Rows of K_ts: `count` targets with `columns` support images.

    Attributes:
        gradient: whether these entries are differentiated, too.
    """

    count: float
    columns: int
    gradient: bool = False

    @property
    def entries(self) -> float:
        """Over all ranks."""
        return self.count * self.columns

    def share(self, ranks: int) -> float:
        """Return entries of the rank that has most."""
        return -(-self.count // ranks) * self.columns

    @property
    def parts(self) -> int:
        """How many ranks can have some of it."""
        return int(self.count)


@dataclass(frozen=True)
class Tiles:
    """Tiles of K_ss.

    Attributes:
        side: of K_ss.
        lower: those that touch the lower triangle alone.
        gradient: whether their gradient is computed, which computes them again.
        block: side of block-cyclic tiles; 0: tiles dealt out over the ranks.
    """

    side: int
    lower: bool = True
    gradient: bool = False
    block: int = 0

    @property
    def entries(self) -> int:
        """Over all ranks."""
        return self.share(1)

    def share(self, ranks: int) -> int:
        """Return entries of the rank that has most."""
        if not self.block:
            return largest_share(self.side, ranks, lower=self.lower)
        return blockcyclic_share(self.side, self.block, ranks)

    @property
    def parts(self) -> int:
        """How many ranks can have some of it."""
        return len(square_tiles(self.side, self.block or support_tile(self.side), lower=self.lower))


def blockcyclic_share(n: int, block: int, ranks: int) -> int:
    """Return how many entries of the lower triangle the rank has that has most, in square tiles dealt to a grid."""
    rows, columns = near_square_grid(ranks)
    sides = [min(block, n - start) for start in range(0, n, block)]
    shares = [[0] * columns for _ in range(rows)]
    for i, height in enumerate(sides):
        for column in range(columns):
            shares[i % rows][column] += height * sum(sides[column : i + 1 : columns])
    return max(max(row) for row in shares)


@dataclass(frozen=True)
class Phase:
    """Something that a run does once or several times.

    Attributes:
        name: what.
        times: how often; 0 for as often as the time of the run allows.
        rows: of K_ts, in the type of K_ts.
        tiles: of K_ss, in the type of K_ss.
        flops: operations that each rank makes, in `dense`.
        shared_flops: operations that the ranks share.
        dense: type of these operations.
        networks: whose kernels are drawn from; empty: that of the configuration.
        messages: takes ranks and returns what each of them sends; see `exchange`.
    """

    name: str
    times: int
    rows: tuple[Rows, ...] = ()
    tiles: tuple[Tiles, ...] = ()
    flops: float = 0.0
    shared_flops: float = 0.0
    dense: str = "float64"
    networks: tuple[str, ...] = ()
    messages: Callable[[Place], Messages] = lambda place: {}

    @property
    def entries(self) -> float:
        """Kernel entries in all, each time, over all ranks; those with a gradient count once."""
        return sum(rows.entries for rows in self.rows) + sum(tiles.entries for tiles in self.tiles)

    @property
    def all_flops(self) -> float:
        """Operations of linear algebra, each time, on one rank."""
        return self.flops + self.shared_flops

    @property
    def parts(self) -> int:
        """How many ranks can compute kernel entries of it; 0: it has none."""
        return max([part.parts for part in self.rows] + [part.parts for part in self.tiles], default=0)


@dataclass(frozen=True)
class Work:
    """A run.

    Attributes:
        step: the phase that is repeated, or takes longest.
        others: all others.
        rank_bytes: takes where it is, and returns bytes of the arrays that each rank keeps.
        files: bytes of the files that it writes, by what they are.
        hours: as many steps as fit so many hours; 0: the steps decide.
        remedy: what to do where it does not fit the memory.
        notes: what else there is to say.
    """

    step: Phase
    others: tuple[Phase, ...]
    rank_bytes: Callable[[Place], float]
    files: Mapping[str, float] = field(default_factory=dict)
    hours: float = 0.0
    remedy: str = ""
    notes: tuple[str, ...] = ()

    @property
    def phases(self) -> tuple[Phase, ...]:
        """All."""
        return self.step, *self.others


#: What a checkpoint has besides arrays: the configuration, names, and HDF5's own.
FILE_BESIDES = 20_000


def checkpoint_bytes(n: int, images: Images, more: float = 0.0) -> float:
    """Return the size of a checkpoint: a support with its origin and two pictures of each image, and `more` bytes."""
    return n * (8 * (images.pixels + images.classes + 1) + 2 * images.pixels) + more + FILE_BESIDES


def is_distributed(n: int, place: Place, solver: str) -> bool:
    """Return whether K_ss of a support is factored by all ranks together; on GPUs it is taken to fit one."""
    return solver == "scalapack" or (solver == "auto" and place.ranks > 1 and not place.on_gpu and n >= SCALAPACK_FROM)


def support_bytes(n: int, place: Place, solver: str) -> float:
    """Return what K_ss, float64, and its factor in its place take of each rank, with a tile of the largest size."""
    shared = place.ranks if is_distributed(n, place, solver) else 1
    return 8.0 * (n * n / shared + support_tile(n) ** 2)


def cholesky_flops(n: int) -> float:
    """Return the operations of a Cholesky factorisation."""
    return n**3 / 3
