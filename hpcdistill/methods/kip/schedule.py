"""How learning rates and batches change over the steps of KIP, and how many steps a given time allows."""

from __future__ import annotations

import math
from dataclasses import dataclass

from hpcdistill.methods.kip.settings import KipConfig


@dataclass(frozen=True)
class Schedule:
    """Rates and batch sizes by step, which depend on its number alone; step k is the one that makes update k + 1.

    Attributes:
        kip: the settings.
        steps: in all; 0 where that is not decided yet, and each step is like the first.
    """

    kip: KipConfig
    steps: int

    def rate(self, step: int) -> float:
        """Return what all learning rates are multiplied by."""
        kip = self.kip
        factor = min(1.0, (step + 1) / kip.warmup) if kip.warmup else 1.0
        if kip.schedule == "cosine":
            factor *= 0.5 * (1 + math.cos(math.pi * self._share(step, self.steps)))
        return factor

    def batch(self, step: int) -> int:
        """Return the number of targets, 0 for all."""
        kip = self.kip
        if not kip.last_batch:
            return kip.batch
        return round(kip.batch * (kip.last_batch / kip.batch) ** self._share(step, self.steps - 1))

    def averages(self, step: int) -> bool:
        """Return whether the support after so many steps is one of those that are averaged."""
        return self.steps > 0 and self.kip.average > 0 and step >= self.first_averaged

    @property
    def first_averaged(self) -> int:
        """The first of the steps whose supports are averaged."""
        return self.steps + 1 - round(self.kip.average * self.steps)

    def targets(self, start: int) -> float:
        """Return about how many targets the steps from `start` on have together, where the batch is not all of them."""
        first, last = self.batch(start), self.batch(self.steps)
        mean = first if first == last else (last - first) / math.log(last / first)
        return mean * max(0, self.steps - start)

    def change(self, before: Schedule, step: int) -> str:
        """Return what it means that a run goes on by this one after so many steps, "" where it means nothing."""
        if before.steps in (0, self.steps) or self.kip.is_constant:
            return ""
        changes = [f"rates {before.rate(step):.0%} → {self.rate(step):.0%} of the full ones"]
        changes += [f"batch {before.batch(step)} → {self.batch(step)}"] if self.kip.last_batch else []
        changes += [f"averaged from step {self.first_averaged} on"] if self.kip.average else []
        return (f"from step {step} on the schedule is that of {self.steps} steps in all, no longer of {before.steps}: "
                f"{', '.join(changes)}")  # fmt: skip

    @staticmethod
    def _share(step: int, steps: int) -> float:
        return min(step, steps) / steps if steps > 0 else 0.0


def steps_within(kip: KipConfig, done: int, seconds: float, per_target: float, per_evaluation: float) -> int:
    """Return how many steps in all a run can make that has made `done` and has so many seconds left; at least one more.

    Args:
        per_target: seconds a step takes for each target of its batch (per step, where the batch is all images).
        per_evaluation: seconds; the last step is evaluated, and each of those before whose turn it is.
    """

    def cost(steps: int) -> float:
        work = Schedule(kip, steps).targets(done) if kip.batch else steps - done
        evaluations = 1 + (steps - 1) // kip.evaluate_every - done // kip.evaluate_every
        return per_target * work + per_evaluation * evaluations

    low, high = done + 1, done + 2
    while cost(high) <= seconds:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if cost(middle) <= seconds else (low, middle)
    return low
