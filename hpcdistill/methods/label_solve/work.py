"""What Label Solve computes, keeps and writes. Light."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hpcdistill.cost.exchange import Messages, exchanged_per_chunk
from hpcdistill.cost.work import (
    Images,
    Phase,
    Place,
    Rows,
    Tiles,
    Work,
    checkpoint_bytes,
    cholesky_flops,
    support_bytes,
)
from hpcdistill.methods.label_solve import LabelSolveConfig
from hpcdistill.mpi.partition import piece_rows

if TYPE_CHECKING:
    from hpcdistill.config import Config


def work_of(config: Config, images: Images) -> Work:
    """Return the work of a run: chunks of all training images, the solution, and the test images."""
    settings, n = config.of(LabelSolveConfig), config.support.images_per_class * images.classes
    if settings.method == "scalapack":
        return _large(n, images)
    chunks = -(-images.train // settings.chunk)
    count, columns = images.train / chunks, n + images.classes
    per_row = 2 if settings.method == "qr" else 1
    chunk = Phase("chunk", chunks, (Rows(count, n),), shared_flops=per_row * 2 * count * columns**2,
                  messages=partial(_messages, columns, round(count), _piece_rows(config, n, round(count))))  # fmt: skip
    # K_ss is computed to be factored, and again to be multiplied with; a least squares solution by singular values
    solution = Phase("solution", 1, (Rows(images.test, n),), (Tiles(n), Tiles(n)),
                     cholesky_flops(n) + (12 * n**3 if settings.method == "qr" else cholesky_flops(n)))  # fmt: skip
    return Work(
        chunk, (solution,), lambda place: support_bytes(n, place, config.solve.method) + _rank_bytes(count, columns, n),
        {"a checkpoint": checkpoint_bytes(n, images, 8 * columns**2)},
        remedy="fewer support.images_per_class",
    )  # fmt: skip


def _large(n: int, images: Images) -> Work:
    """Return the work where K_ts is kept over all ranks, and solved with at once."""
    all_targets = Phase("all targets", 1, (Rows(images.train, n),), shared_flops=2 * images.train * n**2)
    solution = Phase("solution", 1, (Rows(images.test, n),), (Tiles(n),))
    return Work(
        all_targets, (solution,), lambda place: 8 * images.train * (n + images.classes) / place.ranks,
        {"a checkpoint": checkpoint_bytes(n, images)}, remedy="more ranks",
        notes=("messages within ScaLAPACK's QR are not counted",),
    )  # fmt: skip


def _piece_rows(config: Config, n: int, count: int) -> int:
    is_quick = config.architecture.is_fully_connected and config.kernel.backend in ("auto", "fc")
    return piece_rows(n, count, is_quick=is_quick)


def _messages(columns: int, count: int, length: int, place: Place) -> Messages:
    found = exchanged_per_chunk(columns, count, length, place.ranks)
    return {name: (-(-calls // place.ranks), n_bytes // place.ranks) if name in _OF_ALL else (calls, n_bytes)
            for name, (calls, n_bytes) in found.items()}  # fmt: skip


#: Kinds of messages that are told for all ranks together.
_OF_ALL = frozenset({"Send", "Fetch_and_op"})


def _rank_bytes(count: float, columns: int, n: int) -> float:
    """Return bytes of squares, of K_ss once more, and of rows of a piece."""
    return 8 * (4 * columns**2 + n * n + 2 * min(count, 2048) * columns)
