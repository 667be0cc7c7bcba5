"""How learning rates and batches change over the steps of KIP. A step's values depend on its number alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcdistill.config import KipConfig


@dataclass(frozen=True)
class Schedule:
    """Rates and batch sizes by step; step k is the one that makes update k + 1.

    Attributes:
        kip: the settings.
    """

    kip: KipConfig

    def rate(self, step: int) -> float:
        """Return what all learning rates are multiplied by."""
        kip = self.kip
        factor = min(1.0, (step + 1) / kip.warmup) if kip.warmup else 1.0
        if kip.schedule == "cosine":
            factor *= 0.5 * (1 + math.cos(math.pi * self._share(step, kip.steps)))
        return factor

    def batch(self, step: int) -> int:
        """Return the number of targets, 0 for all."""
        kip = self.kip
        if not kip.last_batch:
            return kip.batch
        return round(kip.batch * (kip.last_batch / kip.batch) ** self._share(step, kip.steps - 1))

    def targets(self, steps: int) -> int:
        """Return the sum of the batches of the first so many steps."""
        return sum(map(self.batch, range(steps))) if self.kip.last_batch else steps * self.kip.batch

    def change(self, old: KipConfig, step: int) -> str:
        """Return what another number of steps means for a run that goes on after so many, "" where it means nothing."""
        if old.steps == self.kip.steps or self.kip.is_constant:
            return ""
        before = Schedule(old)
        rates = f"rates {before.rate(step):.0%} → {self.rate(step):.0%} of the full ones"
        batches = f", batch {before.batch(step)} → {self.batch(step)}" if self.kip.last_batch else ""
        return (f"from step {step} on the schedule is that of {self.kip.steps} steps in all, no longer of {old.steps}: "
                f"{rates}{batches}")  # fmt: skip

    @staticmethod
    def _share(step: int, steps: int) -> float:
        return min(step, steps) / steps if steps > 0 else 0.0
