"""How many steps a run of KIP makes: `kip.steps`, or as many as `kip.hours` allow by the speed of the first ones."""

from __future__ import annotations

from statistics import median

import numpy as np

from hpcdistill.methods.kip.schedule import Schedule, steps_within
from hpcdistill.methods.kip.settings import KipConfig
from hpcdistill.progress import duration

#: The number of steps is decided after so many steps, or after this share of the time and no fewer than three.
_ENOUGH_STEPS, _ENOUGH_SHARE, _FEWEST_STEPS = 10, 0.01, 3
#: When these shares of the time are gone, it is corrected, unless what is left would change by less than `_NEAR`.
_REVIEWS, _NEAR = (0.03, 0.1, 0.3, 0.6, 0.85), 0.03
#: What is left for the end, and for a machine that becomes slower.
_RESERVE = 0.03


class Pace:
    """What is known of a run's length. Not collective: rank 0 decides, and the others are told its `plan`.

    Args:
        kip: the settings.
        plan: from the checkpoint that the run goes on from, if any.
        step: steps made before.
        used: seconds used before.

    Attributes:
        plan: `(steps in all, of which kip.hours)`; 0 steps where that is not decided yet.
    """

    def __init__(self, kip: KipConfig, plan: tuple[float, float] | None, step: int = 0, used: float = 0.0) -> None:
        self._kip, self._per_target, self._evaluations = kip, list[float](), list[float]()
        self._begin_review(step, used)
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
        """Note what a step took, until the number of steps is decided."""
        if not self.is_decided:
            self._per_target.append(seconds / max(1, targets))

    def note_evaluation(self, seconds: float) -> None:
        """Note what an evaluation took."""
        self._evaluations.append(seconds)

    def decide(self, step: int, used: float) -> str:
        """Decide, or correct what was decided, if enough is known; return what there is to say about it, else "".

        Args:
            used: seconds of the time given that are gone.
        """
        given = 3600 * self._kip.hours
        if not given or self.is_done(step):
            return ""
        if self.is_decided:
            return self._review(step, used, given)
        n = len(self._per_target)
        if n < _ENOUGH_STEPS and (n < _FEWEST_STEPS or used < _ENOUGH_SHARE * given):
            return ""
        left, per_target = self._left(used), median(self._per_target)
        self._begin_review(step, used)
        if left <= 0:
            self.plan = (step, self._kip.hours)
            return f"the {duration(given)} given are over: {duration(used)} are gone"
        steps = self._steps(step, left, per_target)
        self.plan = (steps, self._kip.hours)
        share = self._per_evaluation * (steps - step) / self._kip.evaluate_every / left
        remedy = f"; evaluations take {share:.0%} of it: raise kip.evaluate_every" if share > 0.2 else ""
        per_step = per_target * max(1, self.schedule.batch(step))
        return f"{steps} steps in the {duration(given)} given ({per_step:.2g} s a step at first{remedy})"

    def _review(self, step: int, used: float, given: float) -> str:
        """Correct the plan by what everything since the last review has taken, checkpoints included."""
        first, used_before, evaluated = self._reviewed
        if step == first or not any(used_before < share * given <= used for share in _REVIEWS):
            return ""
        left, spent = max(0.0, self._left(used)), used - used_before - sum(self._evaluations[evaluated:])
        per_target = max(1e-9, spent / (self._targets(first) - self._targets(step)))
        before, steps = int(self.plan[0]), self._steps(step, left, per_target)
        self._begin_review(step, used)
        if abs(steps - before) <= _NEAR * (before - step):
            return ""
        self.plan = (steps, self._kip.hours)
        per_step = per_target * max(1, self.schedule.batch(step))
        return (f"{steps} steps instead of {before} in the {duration(given)} given ({duration(left)} are left, "
                f"{per_step:.2g} s a step)")  # fmt: skip

    def _left(self, used: float) -> float:
        return (1 - _RESERVE) * 3600 * self._kip.hours - used

    def _targets(self, start: int) -> float:
        """What the steps from `start` on have together, in targets, or in steps where each has all."""
        return self.schedule.targets(start) if self._kip.batch else self.plan[0] - start

    @property
    def _per_evaluation(self) -> float:
        return max(self._evaluations, default=0.0)

    def _steps(self, step: int, left: float, per_target: float) -> int:
        return steps_within(self._kip, step, left, per_target, self._per_evaluation)

    def _begin_review(self, step: int, used: float) -> None:
        self._reviewed = (step, used, len(self._evaluations))

    def to_array(self) -> np.ndarray:
        """Return the plan for a checkpoint."""
        return np.array(self.plan)
