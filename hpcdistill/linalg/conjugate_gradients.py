"""Preconditioned conjugate gradients for many right-hand sides, each with a shift of its own, that can be gone on with.

Every column is a system `(K + shift·I) x = b` of its own; what they share is the product of K with all of them, which
is what a step costs. Columns that have converged take no part any more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from hpcdistill.errors import NotFiniteError, NumericalError

Multiply = Callable[[np.ndarray], np.ndarray]
#: Takes residuals `(n, m)` and the shifts of their columns `(m,)`, and returns `(n, m)`.
Precondition = Callable[[np.ndarray, np.ndarray], np.ndarray]

#: A residual that is updated from step to step drifts off the true one, which is looked at where it has become small.
#: So often it is gone on with; then it may be so many times the tolerance.
_MOST_RESTARTS, DRIFT = 3, 2.0


@dataclass(frozen=True)
class Progress:
    """The state after a step.

    Attributes:
        step: steps so far.
        x, residual, direction: `(n, m)` float64: solutions so far, their residuals, and the next directions.
        squares: `(m,)`: inner products of residuals with preconditioned ones.
        history: `(steps + 1, m)`: norms of the residuals relative to those of the right-hand sides.
    """

    step: int
    x: np.ndarray
    residual: np.ndarray
    direction: np.ndarray
    squares: np.ndarray
    history: np.ndarray

    def is_done(self, tolerance: float) -> np.ndarray:
        """Return which columns have converged."""
        return self.history[-1] <= tolerance

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return what `from_arrays` takes."""
        return {"step": np.array([self.step])} | {name: getattr(self, name) for name in _ARRAYS}

    @classmethod
    def from_arrays(cls, arrays: dict[str, np.ndarray]) -> Progress:
        """Return a state that was stored."""
        return cls(int(arrays["step"][0]), *(arrays[name] for name in _ARRAYS))


_ARRAYS = ("x", "residual", "direction", "squares", "history")


def conjugate_gradients(
    multiply: Multiply,
    precondition: Precondition,
    rhs: np.ndarray,
    shifts: np.ndarray,
    tolerance: float,
    most_steps: int,
    before: Progress | None = None,
) -> Iterator[Progress]:
    """Yield the state after each step, the last one solved. Collective where `multiply` or `precondition` is.

    Args:
        multiply: returns K v for some columns v.
        precondition: an approximation of `(K + shift·I)⁻¹`, symmetric positive definite.
        rhs: `(n, m)` float64.
        shifts: `(m,)`.
        tolerance: of ‖b − (K + shift·I) x‖ / ‖b‖, for each column; the true residual has it in the end.
        most_steps: steps after which it is given up.
        before: where to go on from.

    Raises:
        NotFiniteError: something is NaN or infinite.
        NumericalError: it does not converge, or K + shift·I is not positive definite.

    Source: Hestenes and Stiefel 1952; preconditioned as in Saad, Iterative Methods for Sparse Linear Systems, alg. 9.1.
    """
    norms = _norms(rhs)
    state = before or _begin(precondition, rhs, np.zeros_like(rhs), rhs, shifts, norms, np.empty((0, rhs.shape[1])), 0)
    yield state
    restarts = 0
    while True:
        while not state.is_done(tolerance).all():
            if state.step >= most_steps:
                raise NumericalError(
                    f"conjugate gradients: after {state.step} steps the residual is {state.history[-1].max():.2g} of "
                    f"the right-hand side, and not {tolerance:.2g}. More krr.most_steps, or a larger krr.tolerance, "
                    f"go on from there. {_REMEDY}"
                )
            state = _step(multiply, precondition, state, shifts, norms, tolerance)
            yield state
        residual, relative = residuals(multiply, state.x, rhs, shifts)
        if restarts == _MOST_RESTARTS and relative.max() > DRIFT * tolerance:
            raise NumericalError(
                f"conjugate gradients: rounding keeps the residual at {relative.max():.2g} of the right-hand side, "
                f"above {tolerance:.2g}. With a larger krr.tolerance it goes on from there. {_REMEDY}"
            )
        if restarts == _MOST_RESTARTS or (relative <= tolerance).all():
            return
        restarts += 1
        state = _begin(precondition, rhs, state.x, residual, shifts, norms, state.history[:-1], state.step)


def residuals(
    multiply: Multiply, x: np.ndarray, rhs: np.ndarray, shifts: np.ndarray | float
) -> tuple[np.ndarray, np.ndarray]:
    """Return `b − (K + shift·I) x` for each column, `(n, m)`, and its norm relative to that of b, `(m,)`."""
    residual = rhs - multiply(x) - x * shifts
    return residual, np.linalg.norm(residual, axis=0) / _norms(rhs)


def _norms(rhs: np.ndarray) -> np.ndarray:
    """Return the norms of columns, 1 for those of zeros."""
    norms = np.linalg.norm(rhs, axis=0)
    norms[norms == 0] = 1.0
    return norms


_REMEDY = "Anew, in a folder of its own, a larger solve.reg or krr.rank helps, and kernel.precision=float64."


def _begin(
    precondition: Precondition,
    rhs: np.ndarray,
    x: np.ndarray,
    residual: np.ndarray,
    shifts: np.ndarray,
    norms: np.ndarray,
    history: np.ndarray,
    step: int,
) -> Progress:
    if not np.isfinite(rhs).all():
        raise NotFiniteError("conjugate gradients: the right-hand side is not finite")
    direction = precondition(residual, shifts)
    relative = np.linalg.norm(residual, axis=0) / norms
    squares = np.einsum("ij,ij->j", residual, direction)
    return Progress(step, x, residual.copy(), direction, squares, np.vstack([history, relative]))


def _step(
    multiply: Multiply,
    precondition: Precondition,
    state: Progress,
    shifts: np.ndarray,
    norms: np.ndarray,
    tolerance: float,
) -> Progress:
    """Return the state after one more step of the columns that have not converged."""
    on = np.flatnonzero(~state.is_done(tolerance))
    x, residual, direction, squares = (
        array.copy() for array in (state.x, state.residual, state.direction, state.squares)
    )
    d = direction[:, on]
    image = multiply(d) + d * shifts[on]
    curvature = np.einsum("ij,ij->j", d, image)
    if not np.isfinite(curvature).all():
        raise NotFiniteError("conjugate gradients: the kernel has entries that are not finite")
    if not (curvature > 0).all():
        raise NumericalError(
            f"conjugate gradients: K_ss + λI is not positive definite (dᵀ(K_ss + λI)d = {curvature.min():.2g}). "
            f"{_REMEDY}"
        )
    length = squares[on] / curvature
    x[:, on] += length * d
    residual[:, on] -= length * image
    turned = precondition(residual[:, on], shifts[on])
    new = np.einsum("ij,ij->j", residual[:, on], turned)
    direction[:, on] = turned + new / squares[on] * d
    squares[on] = new
    relative = state.history[-1].copy()
    relative[on] = np.linalg.norm(residual[:, on], axis=0) / norms[on]
    history = np.vstack([state.history, relative])
    return replace(
        state, step=state.step + 1, x=x, residual=residual, direction=direction, squares=squares, history=history
    )
