#!/usr/bin/env python3
"""Time Label Solve, or a kernel in a file, on ranks of which the last may be slowed to half its speed.

usage: mpirun -n 2 python jobs/slowed_rank.py WHAT SHARES SPEED [--set KEY=VALUE …]

    WHAT     label_solve or kernel, on digits with the ConvNet
    SHARES   dealt: as it is, work goes to whoever is free; static: each rank gets its equal part beforehand
    SPEED    full, or half: the last rank is stopped (SIGSTOP) every other 10 ms, while it is timed

Rank 0 prints the seconds of the part that is shared out: the reduction of all targets, or all tiles. Give each rank a
core of its own; medians of some rounds count.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

STOP_AND_GO = """
import os, signal, sys, time
pid = int(sys.argv[1])


def end(*_):
    os.kill(pid, signal.SIGCONT)
    sys.exit()


signal.signal(signal.SIGTERM, end)
while True:
    for number in (signal.SIGSTOP, signal.SIGCONT):
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            sys.exit()
        time.sleep(0.01)
"""


def deal_nothing():
    """Give each rank its part of the numbers, and let these be parts of one size."""
    from hpcdistill.mpi import dealing, partition, tree

    def numbers(counter):
        comm = counter._comm
        yield from range(*partition.block_range(counter._total, comm.Get_size(), comm.Get_rank()))

    dealing.Counter.__iter__ = numbers
    tree.Tree.dealt_out = lambda self, ranks: [tree.Node(0, place) for place in range(self.count)]


def time_part(module, name, title, is_slowed):
    """Replace a function by one that is timed, and slowed on the last rank."""
    function = getattr(module, name)

    def timed(comm, *arguments):
        slowed = None
        comm.Barrier()
        if is_slowed and comm.Get_rank() == comm.Get_size() - 1:
            slowed = subprocess.Popen([sys.executable, "-c", STOP_AND_GO, str(os.getpid())])
        started = time.monotonic()
        try:
            return function(comm, *arguments)
        finally:
            if comm.Get_rank() == 0:
                print(f"{title}: {time.monotonic() - started:.2f} s", file=sys.stderr)
            if slowed is not None:
                slowed.terminate()
                slowed.wait()

    setattr(module, name, timed)


def main():
    """Run one command line."""
    what, shares, speed, *settings = sys.argv[1:]
    from mpi4py import MPI

    from hpcdistill.__main__ import main as hpcdistill
    from hpcdistill.methods.label_solve import driver
    from hpcdistill.run import kernel_experiment

    comm, config = MPI.COMM_WORLD, str(Path(__file__).parent / "demo/digits.toml")
    folder = comm.bcast(tempfile.mkdtemp() if comm.Get_rank() == 0 else None)
    if shares == "static":
        deal_nothing()
    settings += ["--set", "kernel.architecture=ConvNet"]
    where = (kernel_experiment, "fill") if what == "kernel" else (driver, "reduce_chunk")
    time_part(*where, f"{what} {shares} {speed}", speed == "half")
    if what == "kernel":
        return hpcdistill(["kernel", config, "--output", f"{folder}/kernel.h5", "--tile", "64", *settings])
    label_solve = ["--set", "method=label_solve", "--set", "support.images_per_class=20", "--set", "data.test_size=10"]
    return hpcdistill(["run", config, "--output", f"{folder}/out", *label_solve, *settings])


if __name__ == "__main__":
    sys.exit(main())
