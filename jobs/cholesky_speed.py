"""Factor an n×n matrix and solve with it for 10 right-hand sides: by ScaLAPACK over ranks, or by SciPy on one process.

usage: mpirun -n 2 python jobs/cholesky_speed.py 20000 [--float32]
       OPENBLAS_NUM_THREADS=2 python jobs/cholesky_speed.py 20000 --scipy

It prints seconds, GFLOP/s (n³/3), the residual and the largest memory of a process. Each rank makes its own part of the
matrix, 1 / (1 + |i − j| / 50) + 0.1 on the diagonal, before the clock starts. No entry comes near the smallest float32:
subnormal numbers slow a factorisation tenfold, and no kernel of a network has them.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import scipy.linalg


def part(rows: np.ndarray, columns: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """Return entries of the matrix, Fortran-ordered."""
    matrix = np.zeros((len(rows), len(columns)), dtype, order="F")
    for j, column in enumerate(columns):
        matrix[:, j] = 1 / (1 + np.abs(rows - column) / 50) + 0.1 * (rows == column)
    return matrix


def product(x: np.ndarray) -> np.ndarray:
    """Return the matrix times `x`, a strip at a time."""
    indices = np.arange(len(x))
    return np.vstack([part(indices[i : i + 500], indices, np.dtype(float)) @ x for i in range(0, len(x), 500)])


def report(what: str, n: int, seconds: float, rhs: np.ndarray, solution: np.ndarray) -> None:
    """Print a line."""
    residual = np.linalg.norm(product(solution) - rhs) / np.linalg.norm(rhs)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {seconds:.1f} s, {n**3 / 3 / seconds / 1e9:.1f} GFLOP/s, residual {residual:.1e}, "
          f"{memory:.2f} GiB a process")  # fmt: skip


def with_scipy(n: int, rhs: np.ndarray) -> None:
    """Measure `scipy.linalg.cho_factor`."""
    matrix = part(np.arange(n), np.arange(n), np.dtype(float))
    started = time.perf_counter()
    solution = scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix, True, True, check_finite=False), rhs)
    report("SciPy, one process", n, time.perf_counter() - started, rhs, solution)


def with_scalapack(n: int, rhs: np.ndarray, dtype: np.dtype) -> None:
    """Measure `ScalapackCholesky`."""
    from mpi4py import MPI

    from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
    from hpcdistill.linalg.scalapack import ScalapackCholesky

    comm = MPI.COMM_WORLD
    layout = BlockCyclic.of_rank(n, n, 256, 256, *near_square_grid(comm.size), comm.rank)
    local = part(*layout.local_to_global(), dtype)
    comm.Barrier()
    started = time.perf_counter()
    with ScalapackCholesky(comm, layout, local) as factor:
        solution = factor.solve(rhs)
    if comm.rank == 0:
        what = f"ScaLAPACK, {comm.size} ranks, {dtype}, {local.size:,} elements on the first"
        report(what, n, time.perf_counter() - started, rhs, solution)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n", type=int)
    parser.add_argument("--scipy", action="store_true")
    parser.add_argument("--float32", action="store_true")
    arguments = parser.parse_args()
    right = np.random.default_rng(0).normal(size=(arguments.n, 10))
    if arguments.scipy:
        with_scipy(arguments.n, right)
    else:
        with_scalapack(arguments.n, right, np.dtype("float32" if arguments.float32 else "float64"))
