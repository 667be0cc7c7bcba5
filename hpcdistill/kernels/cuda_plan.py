"""What the CUDA engine is compiled and run with for one architecture and image shape: constants and a table of tasks.

A *level* is what lies between two poolings; within it the offset d = q − p of a pixel pair never changes, so that each
offset is a *plane* of its own (native/engine/plan.hpp). A *task* is what one warp does at a time: planes side by side,
one lane per column, as many as fit its 32 lanes. A *phase* is a set of tasks that add to different elements of the
pooled planes: offset d goes to the pooled offsets ⌊d/2⌋ and ⌈d/2⌉. Offsets that are alike mod 3 do not meet, nor do
those that are even, or odd and alike mod 4. Either makes nine phases, the fewest there can be, as offsets −1, 0 and 1
all meet: the first of about the same size, the second with widths that fill a warp better where there are all offsets.

A task of three planes of an 8×8 level, row by row from the top, lanes from left to right (a digit is the plane that the
lane works on, a dot has nothing to do):

    lane   0       8     15    21        31
    row 0  00000000 1111111 222222 .........      plane 0: offset (0, 0), 8 × 8 pairs
    …      00000000 1111111 222222 .........      plane 1: offset (0, 1), 8 × 7 pairs
    row 7  00000000 1111111 ...... .........      plane 2: offset (1, 2), 7 × 6 pairs

*Entry* is where a lane's column begins among the planes that entered the level from the pooling before. Lanes of two
planes may stand for the same pixel of the first image; they add to its gradient in different *rounds*. *Margin* is what
may be read, and is not used, before and after the images: lanes do not ask whether a row exists.
Not collective; needs no GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any

import numpy as np

from hpcdistill.architecture import Architecture
from hpcdistill.errors import NotSuitable
from hpcdistill.native import _engine

LANES = 32
#: Fields of native/cuda/plan.cuh's Lane, all int32, in its order.
LANE_FIELDS = (
    "p", "q", "rows", "flags", "entry", "entry_stride", "top", "pooled_end", "pooled_even", "pooled_odd",
    "pooled_stride", "round",
)  # fmt: skip
_HAS_LEFT, _HAS_RIGHT, _PAIRS_RIGHT, _EMITS, _EVEN_ROWS = 1, 2, 4, 8, 16
_DROPPED = -(1 << 30)


@dataclass(frozen=True)
class Plane:
    """Pixels p and p + (dy, dx) of images of one level: `rows × columns` pairs, the first at p = (top, left)."""

    dy: int
    dx: int
    rows: int
    columns: int
    top: int
    left: int


@dataclass(frozen=True)
class PlaneStore:
    """Planes that enter a level, one behind the other: where each starts, and how many elements they have."""

    starts: dict[tuple[int, int], int]
    size: int


@dataclass
class Net:
    """A plan with its tasks.

    Attributes:
        units, levels: of the plan, as plain data; units also have filters, levels s_store, t_store, first_phase,
            n_phases (native/cuda/plan.cuh).
        norms: norms per image.
        store_size: elements of all planes that enter levels.
        margin: elements before and after images that sweeps may read: a row for each box filter, there and back again,
            and those that other planes of a task have more.
        lanes: (tasks, 32, fields) int32.
        phases: task at which each phase begins, and the end of the last one of each level.
    """

    units: list[dict[str, Any]]
    levels: list[dict[str, Any]]
    norms: int
    tangent: bool
    store_size: int = 0
    margin: int = 0
    lanes: np.ndarray = field(default_factory=lambda: np.empty((0, LANES, len(LANE_FIELDS)), np.int32))
    phases: list[int] = field(default_factory=list)


@cache
def make_nets(architecture: Architecture, image_shape: tuple[int, int, int]) -> tuple[Net, Net]:
    """Return the network's kernel, and the variances of one image as far as its ReLUs need them. Not to be changed.

    They take seconds for large networks, and are the same in float32 and float64: they are made once.

    Raises:
        NotSuitable: images wider than a warp has lanes.
    """
    height, width, channels = image_shape
    if width > LANES:
        raise NotSuitable(f"it takes images of up to {LANES} columns")
    pair, variance = _engine.plans(
        list(architecture.layers), height, width, channels, architecture.kind == "ntk",
        architecture.w_std**2, architecture.b_std**2,
    )  # fmt: skip
    return _make_net(pair, diagonal_first=False), _make_net(variance, diagonal_first=True)


def _make_net(plan: dict[str, Any], *, diagonal_first: bool) -> Net:
    net = Net(plan["units"], plan["levels"], plan["norms"], plan["tangent"])
    stores = [_store(level) for level in net.levels]
    for level, store in zip(net.levels[1:], stores[1:], strict=True):
        level["s_store"] = net.store_size
        level["t_store"] = net.store_size + store.size if level["tangent_in"] else -1
        net.store_size += store.size * (2 if level["tangent_in"] else 1)
    tasks: list[np.ndarray] = []
    for i, level in enumerate(net.levels):
        own_units = net.units[level["first_unit"] : level["first_unit"] + level["n_units"]]
        for unit, filters in zip(own_units, accumulate(unit["box"] for unit in own_units), strict=True):
            unit["filters"] = int(filters)
        following = (net.levels[i + 1], stores[i + 1]) if level["emit"] == "pool" else None
        colours = _COLOURINGS if following else _COLOURINGS[:1]
        packings = [[_pack(planes) for planes in _phases(level, colour, diagonal_first)] for colour in colours]
        packed = min(packings, key=lambda phases: sum(planes[0].rows for phase in phases for planes in phase))
        level["first_phase"], level["n_phases"] = len(net.phases), len(packed)
        net.phases += accumulate(map(len, packed), initial=len(tasks))
        level["n_rounds"] = 1 + max(max(_rounds(planes)) for phase in packed for planes in phase)
        tasks += [_task(level, stores[i], following, planes) for phase in packed for planes in phase]
        more = max(planes[0].rows - planes[-1].rows for phase in packed for planes in phase)
        net.margin = max(net.margin, (2 * own_units[-1]["filters"] + more) * level["width"])
    if tasks:
        net.lanes = np.stack(tasks)
    return net


def _planes(level: dict[str, Any]) -> list[Plane]:
    height, width = level["height"], level["width"]
    return [
        Plane(dy, dx, height - abs(dy), width - abs(dx), max(0, -dy), max(0, -dx))
        for dy in range(-level["radius_y"], level["radius_y"] + 1)
        for dx in range(-level["radius_x"], level["radius_x"] + 1)
    ]


def _store(level: dict[str, Any]) -> PlaneStore:
    planes = _planes(level)
    ends = list(accumulate((plane.rows * plane.columns for plane in planes), initial=0))
    return PlaneStore({(plane.dy, plane.dx): start for plane, start in zip(planes, ends, strict=False)}, ends[-1])


#: Two ways to colour offsets with three colours, so that those of one colour do not meet in the pooled planes.
_COLOURINGS: tuple[Callable[[int], int], ...] = (lambda d: d % 3, lambda d: 0 if d % 2 == 0 else 1 + (d % 4 == 3))


def _phases(level: dict[str, Any], colour: Callable[[int], int], diagonal_first: bool) -> list[list[Plane]]:
    """Return the planes of each phase, none empty. A diagonal that comes first is a phase of its own."""

    def number(plane: Plane) -> int:
        if diagonal_first and plane.dy == plane.dx == 0:
            return -1
        return 3 * colour(plane.dy) + colour(plane.dx) if level["emit"] == "pool" else 0

    planes = _planes(level)
    return [[plane for plane in planes if number(plane) == k] for k in sorted(set(map(number, planes)))]


def _pack(planes: list[Plane]) -> list[list[Plane]]:
    """Return the planes of each task: the longest first, beside them what fits best into the lanes that are left.

    Of planes that fit as well, one that has no columns of the first image in common with the rest is taken.
    """
    waiting = sorted(planes, key=lambda plane: (-plane.rows, -plane.columns))
    tasks: list[list[Plane]] = []
    while waiting:
        task: list[Plane] = []
        free = LANES
        while sizes := [(plane.rows, plane.columns) for plane in waiting if plane.columns <= free]:
            best = max(sizes)
            alike = [plane for plane in waiting if (plane.rows, plane.columns) == best]
            plane = max(alike, key=lambda plane: max(_rounds([*task, plane])) == 0)
            waiting.remove(plane)
            task.append(plane)
            free -= plane.columns
        tasks.append(task)
    return tasks


def _rounds(planes: list[Plane]) -> list[int]:
    """Return a number for each plane of a task; those that have columns of the first image in common differ in it."""
    rounds: list[int] = []
    for i, plane in enumerate(planes):
        taken = {number for other, number in zip(planes[:i], rounds, strict=True)
                 if plane.left < other.left + other.columns and other.left < plane.left + plane.columns}  # fmt: skip
        rounds.append(next(number for number in range(i + 1) if number not in taken))
    return rounds


def _task(
    level: dict[str, Any], store: PlaneStore, following: tuple[dict[str, Any], PlaneStore] | None, planes: list[Plane]
) -> np.ndarray:
    lanes = np.zeros((LANES, len(LANE_FIELDS)), np.int32)
    lane = 0
    for plane, number in zip(planes, _rounds(planes), strict=True):
        for column in range(plane.columns):
            record = _lane(level, store, following, plane, column) | {"round": number}
            lanes[lane] = [record[name] for name in LANE_FIELDS]
            lane += 1
    return lanes


def _lane(
    level: dict[str, Any],
    store: PlaneStore,
    following: tuple[dict[str, Any], PlaneStore] | None,
    plane: Plane,
    column: int,
) -> dict[str, int]:
    width, x = level["width"], plane.left + column
    flags = _HAS_LEFT * (column > 0) | _HAS_RIGHT * (column + 1 < plane.columns)
    record = dict.fromkeys(LANE_FIELDS, 0) | {
        "p": plane.top * width + x,
        "q": (plane.top + plane.dy) * width + x + plane.dx,
        "rows": plane.rows,
        "entry": store.starts[plane.dy, plane.dx] + column,
        "entry_stride": plane.columns,
        "top": plane.top,
    }
    if following is not None:
        flags |= _EVEN_ROWS * (plane.dy % 2 == 0) | _EMITS * (plane.dx % 2 != 0 or x % 2 == 0)
        flags |= _PAIRS_RIGHT * (plane.dx % 2 == 0 and x % 2 == 0 and column + 1 < plane.columns)
        record |= _pooled(*following, level["height"], plane, x)
    return record | {"flags": flags}


def _pooled(following: dict[str, Any], store: PlaneStore, height: int, plane: Plane, x: int) -> dict[str, int]:
    """Return where column x of the first image goes: pixels p, q of a level are pixels p // 2, q // 2 of the next."""
    even = height // 2 * 2  # an odd height's last row is dropped
    column_p, column_q = x // 2, (x + plane.dx) // 2
    dx = column_q - column_p
    columns = following["width"] - abs(dx)

    def start(parity: int) -> int:
        dy = (parity + plane.dy) // 2
        if (dy, dx) not in store.starts or max(column_p, column_q) >= following["width"]:
            return _DROPPED
        return store.starts[dy, dx] - max(0, -dy) * columns + column_p - max(0, -dx)

    return {
        "pooled_end": min(even, even - plane.dy),
        "pooled_even": start(0),
        "pooled_odd": start(1),
        "pooled_stride": columns,
    }


def constants(
    pair: Net, variance: Net, image_shape: tuple[int, int, int], dtype: np.dtype, flags: dict[str, int | bool]
) -> str:
    """Return the constants that native/cuda/engine.cu is compiled behind, as text in CUDA; `flags` are more of them."""
    real = {"float32": "float", "float64": "double"}[np.dtype(dtype).name]
    return "\n".join([
        "namespace hpcdistill {",
        f"using Real = {real};",
        *(f"constexpr {'bool' if isinstance(v, bool) else 'int'} {name} = {_literal(v)};" for name, v in flags.items()),
        _struct("PairNet", pair, image_shape),
        _struct("VarianceNet", variance, image_shape),
        "}  // namespace hpcdistill",
        "",
    ])  # fmt: skip


def _struct(name: str, net: Net, image_shape: tuple[int, int, int]) -> str:
    """Return a net as CUDA."""
    height, width, channels = image_shape
    first = {"s_store": -1, "t_store": -1}
    units = [(u["box"], u["relu"], u["tangent_in"], u["tangent_out"], u["scale"], u["bias"], u["map"],
              u["filters"]) for u in net.units]  # fmt: skip
    levels = []
    for level in net.levels:
        d = first | level
        levels.append((d["height"], d["width"], d["first_unit"], d["n_units"], d["tangent_in"], Emit(d["emit"]),
                       d["s_store"], d["t_store"], d["n_rounds"], d["first_phase"], d["n_phases"]))  # fmt: skip
    unused_unit, unused_level = [(*[False] * 4, 0.0, 0.0, 0, 0)], [(0, 0, 0, 0, False, Emit("nothing"), 0, 0, 1, 0, 0)]
    return f"""struct {name} {{
  static constexpr int height = {height}, width = {width}, channels = {channels}, pixels = {height * width};
  static constexpr int norms = {net.norms}, store_size = {net.store_size}, n_levels = {len(levels)};
  static constexpr bool tangent = {_literal(net.tangent)};
  static constexpr Unit units[] = {_literal(units or unused_unit)};
  static constexpr Level levels[] = {_literal(levels or unused_level)};
}};"""


class Emit(str):
    """A member of native/cuda/plan.cuh's enum of that name."""


def _literal(value: Any) -> str:
    """Return a value as C++ writes it."""
    if isinstance(value, list | tuple):
        return "{" + ", ".join(map(_literal, value)) + "}"
    if isinstance(value, Emit):
        return f"Emit::{value}"
    return {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
