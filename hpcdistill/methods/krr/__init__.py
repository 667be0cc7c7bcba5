"""Kernel ridge regression on natural images: what the rest of the package is told of it. Light."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpcdistill.method import Method
from hpcdistill.schema import key

if TYPE_CHECKING:
    from hpcdistill.config import Config


@dataclass(frozen=True)
class KrrConfig:
    """Section `[krr]`."""

    draws: int = key(10, "random supports to average over", minimum=1)


class Krr(Method):
    """The baseline that distilled sets are compared with: random natural images, or all of them."""

    name = "krr"
    title = "Natural images"
    help = "natural images"
    settings = KrrConfig
    driver = "hpcdistill.methods.krr.driver:KrrDriver"
    is_sample = True
    needs_test = True
    takes_all = True
    unit = "a draw"

    def steps(self, config: Config) -> int:
        """See `Method`."""
        return config.of(KrrConfig).draws if config.support.images_per_class else 1


METHOD = Krr()
