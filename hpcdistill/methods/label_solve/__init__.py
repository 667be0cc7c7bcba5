"""Label Solve: what the rest of the package is told of it. Light; `driver` is what it does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcdistill.method import Method
from hpcdistill.schema import key

if TYPE_CHECKING:
    from hpcdistill.config import Config
    from hpcdistill.cost.work import Images, Work

LABEL_SOLVERS = ("qr", "normal", "scalapack")


@dataclass(frozen=True)
class LabelSolveConfig:
    """Section `[label_solve]`."""

    method: str = key(
        "qr",
        "qr: orthogonal reduction; normal: the papers' notebook; scalapack: QR over all ranks at once, for "
        "supports whose square no rank can hold",
        LABEL_SOLVERS,
    )
    chunk: int = key(10000, "target images per chunk; progress is saved between chunks", minimum=1)


class LabelSolve(Method):
    """Label Solve. Source: arXiv:2011.00050, arXiv:2107.13034."""

    name = "label_solve"
    title = "Label Solve"
    help = "solve for labels"
    settings = LabelSolveConfig
    driver = "hpcdistill.methods.label_solve.driver:LabelSolveDriver"
    labels = "solved"
    unit = "all of Label Solve"
    shorter = "lower label_solve.chunk"
    resumable = frozenset({"label_solve.chunk"})

    def driver_of(self, config: Config) -> str:
        """See `Method`."""
        is_large = config.of(LabelSolveConfig).method == "scalapack"
        return "hpcdistill.methods.label_solve.large:LargeLabelSolveDriver" if is_large else self.driver

    def work(self, config: Config, images: Images) -> Work:
        """See `Method`."""
        from hpcdistill.methods.label_solve.work import work_of

        return work_of(config, images)


METHOD = LabelSolve()
