"""Kernel ridge regression on natural images: what the rest of the package is told of it. Light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.errors import ConfigError
from hpcdistill.method import Method, Sweep
from hpcdistill.schema import key

if TYPE_CHECKING:
    import numpy as np

    from hpcdistill.config import Config
    from hpcdistill.cost.work import Images, Work
    from hpcdistill.data.sampling import Pool

SOLVERS = ("cholesky", "conjugate_gradients")


@dataclass(frozen=True)
class KrrConfig:
    """Section `[krr]`. All keys but the first are for all training images (`support.images_per_class = 0`)."""

    draws: int = key(10, "random supports to average over", minimum=1)
    regs: tuple[float, ...] = key((), "all images: ridges measured besides solve.reg, from the same kernel", minimum=0)
    kernel_file: str = key("", "all images: read K_ss from a file of `hpcdistill kernel`; empty: compute it")
    solver: str = key("cholesky", "all images: factor K_ss, or iterate where no memory holds it", SOLVERS)
    precision: str = key("float64", "cholesky: type of K_ss and its factor; float32 takes half the memory, and rounds "
                         "entries; the solution is refined to krr.tolerance", ("float64", "float32"))  # fmt: skip
    tolerance: float = key(1e-8, "where a solution is iterated: residual relative to the labels", above=0, below=1)
    rank: int = key(1000, "conjugate_gradients: columns of K_ss that the preconditioner is made of", minimum=0)
    keep_gib: float = key(2.0, "conjugate_gradients: GiB of K_ss that each rank keeps; the rest is read or computed "
                          "anew in each step", minimum=0, maximum=1e9)  # fmt: skip
    most_steps: int = key(1000, "conjugate_gradients: steps after which it is given up", minimum=1)


class Krr(Method):
    """The baseline that distilled sets are compared with: random natural images, or all of them."""

    name = "krr"
    title = "Natural images"
    help = "natural images"
    settings = KrrConfig
    paths = frozenset({"kernel_file"})
    driver = "hpcdistill.methods.krr.draws:DrawsDriver"
    is_sample = True
    needs_test = True
    takes_all = True
    unit = "a draw"
    resumable = frozenset({"krr.draws", "krr.regs", "krr.kernel_file", "krr.keep_gib", "krr.most_steps"})
    adjustable = frozenset({"krr.tolerance"})

    def driver_of(self, config: Config) -> str:
        """See `Method`: all images are solved for once, draws are measured one by one."""
        return self.driver if config.support.images_per_class else "hpcdistill.methods.krr.all_images:AllImagesDriver"

    def check(self, config: Config) -> None:
        """See `Method`."""
        krr = config.of(KrrConfig)
        if not config.support.images_per_class:
            return
        default = KrrConfig()
        for name in ("regs", "kernel_file", "solver", "precision"):
            if getattr(krr, name) != getattr(default, name):
                raise ConfigError(f"krr.{name} is for all training images: set support.images_per_class=0.")

    def check_images(self, config: Config, pool: Pool, validation: int) -> None:
        """See `Method`."""
        file = config.of(KrrConfig).kernel_file
        if file and not Path(file).exists():
            raise ConfigError(f"krr.kernel_file: {file}: no such file. `hpcdistill kernel` makes it.")

    def steps(self, config: Config) -> int:
        """See `Method`."""
        return config.of(KrrConfig).draws if config.support.images_per_class else 1

    def work(self, config: Config, images: Images) -> Work:
        """See `Method`."""
        from hpcdistill.methods.krr.work import work_of

        return work_of(config, images)

    def sweep(self, arrays: Mapping[str, np.ndarray]) -> Sweep | None:
        """See `Method`: the ridges."""
        if "krr/regs" not in arrays:
            return None
        regs = arrays["krr/regs"]
        figures = {"validation accuracy": "validation_accuracy", "test accuracy": "test_accuracy",
                   "test loss": "test_loss", "steps": "steps", "residual": "residual"}  # fmt: skip
        columns = {name: arrays[f"krr/{column}"][regs.argsort()] for name, column in figures.items()}
        known = {name: column for name, column in columns.items() if (column == column).any()}
        return Sweep("ridge", regs[regs.argsort()], known)


METHOD = Krr()
