"""How many steps a run of KIP makes: `kip.steps`, or as many as `kip.hours` allow by the speed of the first ones."""

from __future__ import annotations

from statistics import median

import numpy as np

from hpcdistill.config import KipConfig
from hpcdistill.distill.schedule import Schedule, steps_within
from hpcdistill.progress import duration

#: The number of steps is decided after so many steps, or after this share of the time and no fewer than three.
_ENOUGH_STEPS, _ENOUGH_SHARE, _FEWEST_STEPS = 10, 0.01, 3
#: What is left for the end, and for a machine that becomes slower.
_RESERVE = 0.03


class Pace:
    """What is known of a run's length. Not collective: rank 0 decides, and the others are told its `plan`.

    Args:
        kip: the settings.
        plan: from the checkpoint that the run goes on from, if any.

    Attributes:
        plan: `(steps in all, of which kip.hours)`; 0 steps where that is not decided yet.
    """

    def __init__(self, kip: KipConfig, plan: tuple[float, float] | None) -> None:
        self._kip, self._per_target, self._evaluations = kip, list[float](), list[float]()
        if not kip.hours:
            plan = (kip.steps, 0.0)
        elif plan is None or plan[1] != kip.hours:
            plan = (0, kip.hours)
        self.plan: tuple[float, float] = plan

    @property
    def schedule(self) -> Schedule:
        """The schedule of so many steps."""
        return Schedule(self._kip, int(self.plan[0]))

    @property
    def is_decided(self) -> bool:
        """Whether the number of steps is known."""
        return bool(self.plan[0]) or not self._kip.hours

    def is_done(self, step: int) -> bool:
        """Whether a run that has made so many steps has made all."""
        return self.is_decided and step >= self.plan[0]

    def note_step(self, seconds: float, targets: int) -> None:
        """Note what a step took."""
        self._per_target.append(seconds / max(1, targets))

    def note_evaluation(self, seconds: float) -> None:
        """Note what an evaluation took."""
        self._evaluations.append(seconds)

    def decide(self, step: int, used: float) -> str:
        """Decide if enough is known, and return what there is to say about it, else "".

        Args:
            used: seconds of the time given that are gone.
        """
        n, given = len(self._per_target), 3600 * self._kip.hours
        enough = n >= _ENOUGH_STEPS or (n >= _FEWEST_STEPS and used >= _ENOUGH_SHARE * given)
        if self.is_decided or not enough:
            return ""
        per_target = median(self._per_target)
        per_evaluation = max(self._evaluations, default=0.0)
        left = (1 - _RESERVE) * given - used
        if left <= 0:
            self.plan = (step + 1, self._kip.hours)
            return f"the {duration(given)} given are over, {duration(used)} are gone: one more step"
        steps = steps_within(self._kip, step, left, per_target, per_evaluation)
        self.plan = (steps, self._kip.hours)
        share = per_evaluation * (steps - step) / self._kip.evaluate_every / left
        remedy = f"; evaluations take {share:.0%} of it: raise kip.evaluate_every" if share > 0.2 else ""
        per_step = per_target * max(1, self.schedule.batch(step))
        return f"{steps} steps in the {duration(given)} given ({per_step:.2g} s a step at first{remedy})"

    def to_array(self) -> np.ndarray:
        """Return the plan for a checkpoint."""
        return np.array(self.plan)
