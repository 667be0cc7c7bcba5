"""Cholesky factorisation and least squares on matrices spread over the ranks of a communicator (ScaLAPACK).

Every function here is collective. Arguments are checked on all ranks before ScaLAPACK is entered, and an error on one
rank is raised on every rank.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcdistill.errors import EnvironmentSetupError, NotFiniteError, NotPositiveDefiniteError, NumericalError
from hpcdistill.linalg.blas import widest_blas
from hpcdistill.linalg.blockcyclic import BlockCyclic
from hpcdistill.linalg.factor import Factor, Progress, require_matrix, untold
from hpcdistill.mpi.binding import MPI, VARIABLE, missing
from hpcdistill.mpi.collectives import agree, bcast_object, gather_objects, greatest, sum_array

try:
    if missing:
        raise ImportError(missing)
    with widest_blas():
        from hpcdistill.native import _scalapack
except ImportError as error:
    is_switched_off = missing.startswith(VARIABLE)
    remedy = f"Leave out {missing}" if is_switched_off else "Install MPI and ScaLAPACK as jobs/setup.sh does"
    raise EnvironmentSetupError(
        f"there is no ScaLAPACK here ({error}), which solve.method=scalapack and large systems on several ranks need. "
        f"{remedy}, or set solve.method=replicated and label_solve.method=qr."
    ) from None

#: Progress of a Cholesky factorisation is reported after so many columns at least, and so many times at most.
_COLUMNS_AT_ONCE, _MOST_PARTS = 512, 100
#: Column block of the QR factorisation.
_QR_BLOCK = 64


class ScalapackCholesky(Factor):
    """Factorise A = L Lᵀ in block-cyclic tiles, for A symmetric positive definite. Collective over `comm`.

    Args:
        comm: intracommunicator of at least p_rows·p_cols ranks; ranks beyond the grid take part and hold nothing.
        layout: this rank's view of the n×n matrix, from `BlockCyclic.of_rank`, with mb = nb.
        local: this rank's part, `layout.local_shape`, float64 or float32, the same on every rank, Fortran order. Only
            entries on or below the diagonal of the full matrix are read, and overwritten by the factor; in use until
            `close`. It may have more than 2^31 elements.
        progress: hears of it on every rank.

    Raises:
        TypeError: `comm` is not an mpi4py communicator.
        ValueError: `local` does not fit `layout`, or the layouts of the ranks differ → build both from the same sizes.
        NotFiniteError: a NaN or infinite entry → look at the kernel parameters and at the images.
        NotPositiveDefiniteError: a leading minor is not positive; the same `minor` on every rank → raise the
            regularisation, or compute the kernel in float64.

    Error bound: as `ReplicatedCholesky`; tests/mpi/linalg/test_scalapack_cholesky.py compares with it.
    Source: by block columns as in PDPOTRF of ScaLAPACK 2.2, with its PBLAS.
    """

    def __init__(
        self, comm: MPI.Intracomm, layout: BlockCyclic, local: np.ndarray, progress: Progress = untold
    ) -> None:
        self._comm, self._layout, self._local = comm, layout, local
        self._grid = _make_grid(comm, layout)
        try:
            dtype = bcast_object(comm, str(getattr(local, "dtype", None)))
            with agree(comm):
                self._grid.check(local, layout.descriptor)
                if str(local.dtype) != dtype:
                    raise ValueError(f"the matrix is {local.dtype} here, and {dtype} on the first rank")
                _require_finite_lower(layout, local)
            # Ranks beyond the grid do not learn `info` from ScaLAPACK.
            minor = greatest(comm, self._factorise(progress))
            if minor:
                raise NotPositiveDefiniteError(minor, layout.n_rows)
        except BaseException:
            self.close()
            raise

    def _factorise(self, progress: Progress) -> int:
        """Overwrite the matrix by its factor. Return the first minor that is not positive, or 0."""
        n, block = self._layout.n_rows, self._layout.nb
        at_once = -(-max(_COLUMNS_AT_ONCE, n // _MOST_PARTS) // block) * block
        for start in range(0, n, at_once):
            progress(n**3 - (n - start) ** 3, n**3)
            minor = self._grid.cholesky(self._local, self._layout.descriptor, start, start + at_once)
            if minor:
                return minor
        progress(n**3, n**3)
        return 0

    def solve(self, rhs: np.ndarray) -> np.ndarray:
        """Return A⁻¹ rhs on every rank. Collective.

        Args:
            rhs: (n, k) float64, the same on every rank, left as it is.

        Returns:
            (n, k) float64, the same on every rank; to the accuracy of the factor's type.

        Raises:
            ValueError: `rhs` is not a float64 matrix of n rows, its shape differs between ranks, or the factor is
                closed.
        """
        shape = bcast_object(self._comm, getattr(rhs, "shape", None))
        with agree(self._comm):
            require_matrix(rhs, "the right-hand side", self._layout.n_rows)
            if rhs.shape != shape:
                raise ValueError(f"the right-hand side has shape {rhs.shape}, on the first rank {shape}")
            self._grid.check(self._local, self._layout.descriptor)
        if rhs.size == 0:
            return np.zeros(rhs.shape)
        layout = _rhs_layout(self._layout, rhs.shape[1])
        part = np.asfortranarray(rhs[np.ix_(*layout.local_to_global())], self._local.dtype)
        self._grid.cholesky_solve(self._local, self._layout.descriptor, part, layout.descriptor)
        return _replicate(self._comm, layout, part)

    def close(self) -> None:
        """Free the process grid. Collective; a second call does nothing."""
        self._grid.close()


def scalapack_least_squares(comm: MPI.Intracomm, a_local_rows: np.ndarray, b_local_rows: np.ndarray) -> np.ndarray:
    """Return x = argmin ‖A x − B‖ for a tall A of full rank, by QR without pivoting. Collective over `comm`.

    The order of rows does not matter, so each rank gives any number of them, also none. Inside, every rank's rows are
    padded with zero rows to the longest part: these change nothing, and make the split even as ScaLAPACK needs it.

    Args:
        comm: intracommunicator.
        a_local_rows: this rank's rows of A, (m_r, n) float64, any order, left as they are.
        b_local_rows: the same rows of B, (m_r, k) float64.

    Returns:
        (n, k) float64, the same on every rank.

    Raises:
        TypeError: `comm` is not an mpi4py communicator.
        ValueError: not float64 matrices, different numbers of rows or columns, or fewer rows than columns in all.
        NotFiniteError: a NaN or infinite entry in A or B.
        NumericalError: A has no full rank: a diagonal entry of R is below max(m, n) ε times the largest → remove
            dependent columns, or regularise. QR without pivoting does not find every such matrix.

    Error bound: ‖x − x*‖ / ‖x*‖ ≤ 100 κ(A) ε for small residuals, against numpy.linalg.lstsq in
    tests/mpi/linalg/test_scalapack_least_squares.py.
    Source: PDGELS of ScaLAPACK 2.2.
    """
    _require_communicator(comm)
    n_cols, n_rhs = bcast_object(comm, (_width(a_local_rows), _width(b_local_rows)))
    with agree(comm):
        _require_rows(a_local_rows, b_local_rows, n_cols, n_rhs)
    if n_cols * n_rhs == 0:
        return np.zeros((n_cols, n_rhs))
    system = TallLeastSquares(comm, len(a_local_rows), n_cols, n_rhs)
    system.a[:], system.b[:] = a_local_rows, b_local_rows
    return system.solve().x


@dataclass(frozen=True)
class TallSolution:
    """A least squares solution.

    Attributes:
        x: `(n, k)` float64, the same on every rank.
        squares: sum of squared residuals over all rows and columns.
        condition: largest over smallest diagonal entry of R, which the condition number of A is not below.
    """

    x: np.ndarray
    squares: float
    condition: float


class TallLeastSquares:
    """A tall system whose rows are shared out over the ranks; see `scalapack_least_squares`. Collective over `comm`.

    Args:
        comm: intracommunicator.
        m_local: this rank's number of rows.
        n_cols, n_rhs: columns of A and of B, at least 1, the same on every rank.

    Attributes:
        a, b: this rank's rows of A and B, float64, to be filled in place, in any order over the ranks.

    Raises:
        ValueError: on every rank; fewer rows than columns.
    """

    def __init__(self, comm: MPI.Intracomm, m_local: int, n_cols: int, n_rhs: int) -> None:
        counts, self._comm = gather_objects(comm, m_local), comm
        if sum(counts) < n_cols:
            raise ValueError(f"least squares needs at least as many rows as columns, not {sum(counts)}×{n_cols}")
        place, longest = (comm.Get_size(), 1, comm.Get_rank()), max(counts)
        padded = comm.Get_size() * longest
        self._layouts = [BlockCyclic.of_rank(padded, width, longest, min(_QR_BLOCK, width), *place)
                         for width in (n_cols, n_rhs)]  # fmt: skip
        with agree(comm):
            self._arrays = [layout.zeros() for layout in self._layouts]
        self.a, self.b = (array[:m_local] for array in self._arrays)

    def solve(self) -> TallSolution:
        """Return the solution; `a` and `b` are overwritten. Collective.

        Raises:
            NumericalError: on every rank; A has no full rank.
        """
        comm, (a_layout, b_layout), (a, b) = self._comm, self._layouts, self._arrays
        condition = _factor_and_solve(comm, a_layout, a, b_layout, b)
        below = b[b_layout.local_to_global()[0] >= a_layout.n_cols]
        squares = sum_array(comm, np.array([np.square(below).sum()]))
        solution = BlockCyclic(a_layout.n_cols, *b_layout.common[1:], b_layout.my_row, b_layout.my_col)
        x = _replicate(comm, solution, b[: solution.local_shape[0]])
        return TallSolution(x, float(squares[0]), condition)


def _factor_and_solve(
    comm: MPI.Intracomm, a_layout: BlockCyclic, a: np.ndarray, b_layout: BlockCyclic, b: np.ndarray
) -> float:
    """Overwrite A and B with factors and solution, and return what R says of the condition number."""
    grid = _make_grid(comm, a_layout)
    try:
        with agree(comm):
            grid.check(a, a_layout.descriptor)
            grid.check(b, b_layout.descriptor)
        grid.least_squares(a, a_layout.descriptor, b, b_layout.descriptor)
    finally:
        grid.close()
    rows, _ = a_layout.local_to_global()
    diagonal = np.zeros(a_layout.n_cols)
    mine = rows[rows < a_layout.n_cols]
    diagonal[mine] = np.abs(a[np.arange(len(mine)), mine])
    sum_array(comm, diagonal)
    tolerance = a_layout.n_rows * np.finfo(np.float64).eps * diagonal.max()
    if not diagonal.min() > tolerance:
        raise NumericalError(
            f"least squares: the matrix with {a_layout.n_cols} columns has no full rank (the diagonal of R reaches "
            f"{diagonal.min():.3g}, its largest entry is {diagonal.max():.3g}). Remove dependent columns or regularise."
        )
    return float(diagonal.max() / diagonal.min())


def _require_communicator(comm: MPI.Intracomm) -> None:
    if not isinstance(comm, MPI.Intracomm):
        raise TypeError(f"ScaLAPACK needs an mpi4py intracommunicator, not {type(comm).__name__}")


def _make_grid(comm: MPI.Intracomm, layout: BlockCyclic) -> _scalapack.Grid:
    """Return the process grid of `layout`, after a check that the layouts of all ranks belong together. Collective."""
    _require_communicator(comm)
    first = bcast_object(comm, layout.common)
    with agree(comm):
        if layout.common != first:
            raise ValueError(f"the layouts of the ranks differ: {layout.common} here, {first} on the first rank")
        if layout != BlockCyclic.of_rank(*layout.common, comm.Get_rank()):
            raise ValueError(f"{layout} is not the layout of rank {comm.Get_rank()}: use BlockCyclic.of_rank")
        if layout.p_rows * layout.p_cols > comm.Get_size():
            raise ValueError(f"a {layout.p_rows}×{layout.p_cols} grid needs more than {comm.Get_size()} ranks")
    return _scalapack.Grid(comm, layout.p_rows, layout.p_cols)


def _require_finite_lower(layout: BlockCyclic, local: np.ndarray) -> None:
    for tile in layout.tiles():
        if tile.meets_lower and not np.isfinite(np.tril(local[tile.local], tile.rows.start - tile.cols.start)).all():
            raise NotFiniteError(
                f"the {layout.n_rows}×{layout.n_cols} matrix to factorise has NaN or infinite entries in rows "
                f"{tile.rows.start}–{tile.rows.stop - 1}: look at the kernel parameters and at the support images."
            )


def _rhs_layout(layout: BlockCyclic, n_rhs: int) -> BlockCyclic:
    """Return the layout of n_rhs columns on the grid of `layout`: all columns of processes take part if they can."""
    block = min(layout.nb, -(-n_rhs // layout.p_cols))
    return BlockCyclic(
        layout.n_rows, n_rhs, layout.mb, block, layout.p_rows, layout.p_cols, layout.my_row, layout.my_col
    )


def _replicate(comm: MPI.Intracomm, layout: BlockCyclic, local: np.ndarray) -> np.ndarray:
    full = np.zeros((layout.n_rows, layout.n_cols))
    full[np.ix_(*layout.local_to_global())] = local
    return sum_array(comm, full)


def _width(array: np.ndarray) -> int:
    return array.shape[1] if getattr(array, "ndim", 0) == 2 else 0


def _require_rows(a: np.ndarray, b: np.ndarray, n_cols: int, n_rhs: int) -> None:
    require_matrix(a, "A")
    require_matrix(b, "B", len(a))
    if (a.shape[1], b.shape[1]) != (n_cols, n_rhs):
        raise ValueError(f"A and B have {a.shape[1]} and {b.shape[1]} columns, on the first rank {n_cols} and {n_rhs}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise NotFiniteError("least squares: A or B has NaN or infinite entries")
