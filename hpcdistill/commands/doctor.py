"""`hpcdistill doctor`: what this installation can do here, and what to do about what it cannot."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcdistill.gpu.device import Device
    from hpcdistill.mpi.binding import MPI

HELP = "check MPI, parallel HDF5, ScaLAPACK, kernel backends and threads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = "Check the parts that a run needs. Under mpirun it checks them on all ranks together."


def main(args: argparse.Namespace) -> int:
    """Check every part; the exit code is 2 if one that is needed fails. Collective under MPI."""
    del args
    from hpcdistill.mpi.runtime import run_collectively

    def body(comm: MPI.Intracomm) -> int:
        checks: dict[str, Callable[[], str]] = {
            "MPI": lambda: _mpi(comm),
            "threads": _threads,
            "HDF5": lambda: _hdf5(comm),
            "ScaLAPACK": lambda: _scalapack(comm),
            "JAX": _jax,
            "GPU": lambda: _gpu(comm),
            "kernels": _kernels,
            "packages": _packages,
            "Slurm": lambda: _slurm(comm),
        }
        results = [_check(comm, name, check) for name, check in checks.items()]
        return 0 if all(results) else 2

    return run_collectively(body)


def _check(comm: MPI.Intracomm, name: str, check: Callable[[], str]) -> bool:
    """Make a check on every rank, and print what the first rank says for which it fails. Collective.

    Args:
        check: raises on all ranks, or on some alone while the others need nothing of them any more.
    """
    from hpcdistill.mpi.collectives import gather_objects

    try:
        text, failed = check(), False
    except Exception as error:  # whatever is wrong is what the user wants to know
        text, failed = f"{type(error).__name__}: {error}", True
    told = gather_objects(comm, (failed, text))
    rank = next((rank for rank, (failed, _) in enumerate(told) if failed), 0)
    failed, text = told[rank]
    if comm.Get_rank() == 0:
        print(f"{'FAIL' if failed else 'ok':<5} {name:<10} {f'rank {rank}: ' * (rank > 0)}{text}", flush=True)
    return not failed


def _mpi(comm: MPI.Intracomm) -> str:
    from hpcdistill.mpi.binding import MPI, missing

    if missing:
        return f"none ({missing}): one process, no ranks; jobs/setup.sh installs it"
    import mpi4py

    library = MPI.Get_library_version().split("\n")[0].split(",")[0].strip("\x00 ")
    return f"{library}; {comm.Get_size()} rank(s), mpi4py {mpi4py.__version__}"


def _threads() -> str:
    cores = len(os.sched_getaffinity(0))
    return f"{os.environ['OMP_NUM_THREADS']} per rank (OMP_NUM_THREADS), {cores} core(s) to run on"


def _hdf5(comm: MPI.Intracomm) -> str:
    import platform
    import shutil
    import tempfile
    from pathlib import Path

    import h5py
    import numpy as np

    from hpcdistill.io.checkpoint import SCHEMA_VERSION, Checkpoint, read_checkpoint
    from hpcdistill.io.checkpoint_write import write_checkpoint
    from hpcdistill.mpi.collectives import gather_objects, on_root

    nodes = len(set(gather_objects(comm, platform.node())))
    where = None if nodes == 1 else os.getcwd()  # several nodes do not share their /tmp
    folder = Path(on_root(comm, lambda: tempfile.mkdtemp(prefix="hpcdistill-doctor-", dir=where)))
    path, wanted = folder / "doctor.h5", np.arange(7.0)
    try:
        write_checkpoint(comm, path, Checkpoint({"x": wanted}, {"schema_version": SCHEMA_VERSION}))
        right = on_root(comm, lambda: np.array_equal(read_checkpoint(path, apart=False).arrays["x"], wanted))
    finally:
        on_root(comm, lambda: shutil.rmtree(folder, ignore_errors=True))
    if not right:
        raise RuntimeError("a file written in parallel did not come back as it was")
    parallel = (
        "parallel" if h5py.get_config().mpi else "serial only: runs on one rank; jobs/setup.sh builds it in parallel"
    )
    return f"h5py {h5py.__version__} on HDF5 {h5py.version.hdf5_version}, {parallel}"


def _scalapack(comm: MPI.Intracomm) -> str:
    import numpy as np

    from hpcdistill.mpi.binding import missing
    from hpcdistill.mpi.collectives import agree

    if missing:
        return "none, which several ranks need for large systems; jobs/setup.sh installs it"
    with agree(comm):  # the library may be missing on one node
        from hpcdistill.linalg.blockcyclic import BlockCyclic, near_square_grid
        from hpcdistill.linalg.scalapack import ScalapackCholesky

    matrix = np.eye(5) * 4 + 1
    with agree(comm):
        p_rows, p_cols = near_square_grid(comm.Get_size())
        layout = BlockCyclic.of_rank(5, 5, 2, 2, p_rows, p_cols, comm.Get_rank())
    local = np.asfortranarray(matrix[np.ix_(*layout.local_to_global())])
    with ScalapackCholesky(comm, layout, local) as factor:
        x = factor.solve(np.ones((5, 1)))
    error = float(np.abs(matrix @ x - 1).max())
    if error > 1e-12:
        raise RuntimeError(f"a 5×5 solve has residual {error:.1e}")
    return f"5×5 Cholesky on a {p_rows}×{p_cols} grid, residual {error:.0e}"


def _jax() -> str:
    import jax

    return f"jax {jax.__version__} on {jax.default_backend()}"


def _gpu(comm: MPI.Intracomm) -> str:
    """No run needs a GPU, so its absence is no failure."""
    from hpcdistill.errors import NotSuitable
    from hpcdistill.gpu.cupy_device import find_device
    from hpcdistill.mpi.collectives import agree, agree_any

    device, reason = None, "not on every rank"
    with agree(comm):  # what fails on one rank must not leave the others waiting
        try:
            device = find_device()
        except NotSuitable as absent:
            reason = str(absent)
    everywhere = not agree_any(comm, device is None)
    return _describe_gpu(comm, device) if device and everywhere else f"none for backend cuda: {reason}"


def _describe_gpu(comm: MPI.Intracomm, device: Device) -> str:
    import numpy as np

    from hpcdistill.linalg.gpu import GpuCholesky
    from hpcdistill.mpi.collectives import agree
    from hpcdistill.mpi.gpu_arrays import GPU_AWARE_VARIABLE, check_gpu_aware, gpu_aware

    matrix, ones = np.eye(5) * 4 + 1, np.ones((5, 1))
    with agree(comm):
        error = float(np.abs(matrix @ GpuCholesky(device, device.xp.asarray(matrix)).solve(ones) - 1).max())
        if error > 1e-12:
            raise RuntimeError(f"a 5×5 solve on {device.name} has residual {error:.1e}")
    check_gpu_aware(comm, device)
    sums = "in its memory" if gpu_aware() else f"through the host ({GPU_AWARE_VARIABLE}=1 if MPI reads its memory)"
    gib = device.memory_bytes / 2**30
    return f"{device.name} ({device.bus_id}, {gib:.0f} GiB), 5×5 Cholesky with residual {error:.0e}, sums {sums}"


def _kernels() -> str:
    import numpy as np

    from hpcdistill.architecture import parse_architecture
    from hpcdistill.kernels.select import choose_backend

    found = []
    for name in ("FC1", "Conv-Vec1"):
        backend = choose_backend(parse_architecture(name), (4, 4, 1), np.dtype("float64"))
        handle = backend.prepare(np.ones((1, 4, 4, 1)))
        target = getattr(backend, "target", None)
        where = f" on {target}" if target else ""
        found.append(f"{backend.name}{where} ({name}: {float(backend.block(handle, handle)[0, 0]):.4f})")
    return ", ".join(found)


def _packages() -> str:
    """Other packages are not needed, so that a broken one is no failure."""
    from hpcdistill.errors import EnvironmentSetupError
    from hpcdistill.plugins import added, find, load_object

    found, broken = [], []
    for group in ("methods", "backends", "readers"):
        usable = []
        for name in added(group):
            try:
                load_object(f"{name!r}", find(group, {}, name) or "")
                usable.append(name)
            except EnvironmentSetupError as error:
                broken.append(str(error))
        found += [f"{group} {', '.join(usable)}"] if usable else []
    return "; ".join([*(found or ["others add nothing"]), *broken])


def _slurm(comm: MPI.Intracomm) -> str:
    """No run needs Slurm, so its absence is no failure."""
    from hpcdistill.cluster import slurm
    from hpcdistill.errors import EnvironmentSetupError

    if comm.Get_rank() > 0:
        return ""
    absent = "submit from a login node, or with executor = 'local'"
    try:
        return slurm.describe() if slurm.is_there() else f"not here: {absent}"
    except EnvironmentSetupError as error:
        return f"does not answer ({error}): {absent}"
