"""The weights of all training images: by Cholesky factors, or iterated."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from hpcdistill.errors import NumericalError
from hpcdistill.gpu.device import to_host
from hpcdistill.learning.kernel_operator import KernelOperator, kernel_diagonal
from hpcdistill.linalg.conjugate_gradients import Progress, conjugate_gradients, residuals
from hpcdistill.linalg.factor import Factor, Shiftable
from hpcdistill.linalg.partial_cholesky import PartialCholesky
from hpcdistill.methods.krr import KrrConfig
from hpcdistill.methods.krr.matrix import tiles_of, whole_or_tiles
from hpcdistill.methods.krr.solutions import Solutions
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, agree_any
from hpcdistill.mpi.partition import block_range, chunk_ranges
from hpcdistill.run.experiment import Experiment

#: Steps in which a solution from a factor in float32 has to reach its tolerance.
_MOST_REFINEMENTS = 100
#: What a solution from a factor in float64 may leave of the right-hand side, at most.
_LARGEST_RESIDUAL = 1e-3
#: Images whose kernel with the pivots of a preconditioner is computed together.
_ROWS_AT_ONCE = 1024


def solve_by_cholesky(experiment: Experiment, x_s: np.ndarray, y_s: np.ndarray, solutions: Solutions) -> Iterator[None]:
    """Factor K_ss + λI for one ridge after another. Collective.

    Raises:
        NumericalError: on every rank; at the first ridge, which is `solve.reg`. Others are left out.
    """
    config, reporter = experiment.config.of(KrrConfig), experiment.reporter
    fetch = tiles_of(experiment, x_s, config.kernel_file)
    matrix = whole_or_tiles(experiment, fetch, len(x_s), partial(reporter.rows, "tiles of K_ss"))
    left = solutions.left()
    for done, i in enumerate(map(int, left)):
        reporter.advance("ridge", len(solutions.regs) - len(left) + done, len(solutions.regs))
        shift = float(solutions.regs[i] * matrix.diagonal.mean())
        try:
            with matrix.factor(shift, reporter.within) as factor:
                weights, residual, steps = _refined(matrix, factor, y_s, shift, config)
            check_residual(experiment.comm, residual)
        except NumericalError as error:
            if i == 0:
                raise
            reporter.say(f"ridge {solutions.regs[i]:g}: {error} It is left out")
            solutions.is_singular[i] = True
        else:
            solutions.solved(i, weights, residual, steps)
        yield


def check_residual(comm: MPI.Intracomm, residual: float) -> None:
    """Raise `NumericalError`, on every rank, where a factor has not solved: images that are equal, and no ridge."""
    if agree_any(comm, not residual <= _LARGEST_RESIDUAL):
        raise NumericalError(
            f"K_ss + λI is singular to rounding: its solution leaves {residual:.1g} of the right-hand side. Use a "
            "larger solve.reg, or remove images that are equal."
        )


def _refined(
    matrix: Shiftable, factor: Factor, y_s: np.ndarray, shift: float, config: KrrConfig
) -> tuple[np.ndarray, float, int]:
    """Return weights, their relative residual, and steps of refinement."""
    if config.precision == "float64":
        weights = factor.solve(y_s)
        return weights, float(residuals(matrix.multiply, weights, y_s, shift)[1].max()), 0
    *_, state = conjugate_gradients(matrix.multiply, lambda residual, _: factor.solve(residual), y_s,
                                    np.full(y_s.shape[1], shift), config.tolerance, _MOST_REFINEMENTS)  # fmt: skip
    return state.x, float(state.history[-1].max()), state.step


def solve_by_iteration(
    experiment: Experiment, x_s: np.ndarray, y_s: np.ndarray, solutions: Solutions
) -> Iterator[None]:
    """Iterate all ridges that are left together, by conjugate gradients. Collective."""
    config, reporter, comm = experiment.config.of(KrrConfig), experiment.reporter, experiment.comm
    fetch, n = tiles_of(experiment, x_s, config.kernel_file), len(x_s)
    reporter.say(f"conjugate gradients with K_ss, {n:,} images: {config.rank:,} columns of the preconditioner")
    operator = KernelOperator(comm, n, fetch, int(config.keep_gib * 2**30), partial(reporter.rows, "tiles of K_ss"))
    diagonal, columns = kernel_diagonal(comm, experiment.kernels.ss, x_s), _columns(experiment, x_s)
    seed, progress = experiment.config.seed, partial(reporter.rows, "columns of the preconditioner")
    partial_factor = PartialCholesky(comm, diagonal, columns, config.rank, seed, progress)
    left, classes = solutions.left(), y_s.shape[1]
    shifts = np.repeat(solutions.regs[left] * diagonal.mean(), classes)
    rhs = np.tile(y_s, (1, len(left)))
    for state in conjugate_gradients(operator.multiply, partial_factor.precondition, rhs, shifts, config.tolerance,
                                     config.most_steps, solutions.iterated):  # fmt: skip
        solutions.under_way(left, state)
        worst = float(state.history[-1].max())
        reporter.advance(
            "conjugate gradients", *_way(state, config.tolerance), f"step {state.step}, residual {worst:.1e}"
        )
        yield
    for place, (i, weights) in enumerate(zip(left, np.split(state.x, len(left), axis=1), strict=True)):
        of_ridge = slice(place * classes, (place + 1) * classes)
        taken = int((state.history[:, of_ridge].max(axis=1) > config.tolerance).sum())
        solutions.solved(i, weights, float(state.history[-1, of_ridge].max()), taken)


def _way(state: Progress, tolerance: float) -> tuple[int, int]:
    """Return how much of its way to the tolerance, in digits, the residual has come: per cent, of 100."""
    first, now = state.history[0].max(), max(state.history[-1].max(), tolerance)
    if first <= tolerance:
        return 100, 100
    return max(0, round(100 * np.log(first / now) / np.log(first / tolerance))), 100


def _columns(experiment: Experiment, x_s: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Return what computes this rank's rows of some columns of K_ss. Collective; what is returned is not."""
    backend = experiment.kernels.ss
    start, stop = block_range(len(x_s), experiment.comm.Get_size(), experiment.comm.Get_rank())
    with agree(experiment.comm):
        mine = backend.prepare(x_s[start:stop])

    def columns(indices: np.ndarray) -> np.ndarray:
        pivots = backend.prepare(x_s[indices])
        parts = [to_host(backend.block(mine[a:b], pivots)) for a, b in chunk_ranges(stop - start, _ROWS_AT_ONCE)]
        return np.vstack(parts) if parts else np.zeros((0, len(indices)))

    return columns
