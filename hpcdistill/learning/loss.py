"""What KIP minimises: a loss of predictions, summed over targets, with its derivatives. Not collective.

Both take arrays of NumPy or of a GPU and give what `krr.KernelRegression.gradient` needs: the adjoint through kernel
ridge regression is the same for any loss that is a sum over targets.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class LossTerms(NamedTuple):
    """A loss summed over some targets, before it is divided by `Loss.denominator`.

    Attributes:
        value: the sum, a scalar of the arrays' kind.
        residual: its derivative with respect to the predictions, `(m, classes)`.
        slope: its derivative with respect to the logarithm of the temperature, a scalar; 0 where there is none.
    """

    value: Any
    residual: Any
    slope: Any


class Loss(Protocol):
    """A loss over predictions `(m, classes)` and labels `(m, classes)`, the largest of which is at the class."""

    def terms(self, prediction: Any, labels: Any, xp: Any) -> LossTerms:
        """Return the sum over these targets and its derivatives; `xp` is NumPy, or CuPy for arrays of a GPU."""
        ...

    def denominator(self, targets: int, classes: int) -> int:
        """Return what the sum over all targets is divided by."""
        ...


@dataclass(frozen=True)
class SquaredError:
    """½ · mean of (f − y)² over targets and classes. Source: arXiv:2011.00050, equation 7."""

    def terms(self, prediction: Any, labels: Any, xp: Any) -> LossTerms:
        """See `Loss.terms`."""
        residual = prediction - labels
        return LossTerms(0.5 * xp.square(residual).sum(), residual, 0.0)

    def denominator(self, targets: int, classes: int) -> int:
        """See `Loss.denominator`."""
        return targets * classes


@dataclass(frozen=True)
class CrossEntropy:
    """Mean of −log softmax(τ f) at the targets' classes, τ = exp(`log_temperature`).

    Predictions of KRR are near ±1 whatever the number of classes, so they need a factor to be probabilities: Platt's
    scaling, as in RFAD (arXiv:2210.12067, section 3.4). Natural logarithm.
    """

    log_temperature: float

    def terms(self, prediction: Any, labels: Any, xp: Any) -> LossTerms:
        """See `Loss.terms`."""
        temperature = math.exp(self.log_temperature)
        scores = temperature * prediction
        scores -= scores.max(axis=1, keepdims=True)
        powers = xp.exp(scores)
        totals = powers.sum(axis=1, keepdims=True)
        of_class = labels == labels.max(axis=1, keepdims=True)
        value = xp.log(totals).sum() - (scores * of_class).sum()
        residual = temperature * (powers / totals - of_class)
        return LossTerms(value, residual, (residual * prediction).sum())

    def denominator(self, targets: int, classes: int) -> int:
        """See `Loss.denominator`."""
        del classes
        return targets
