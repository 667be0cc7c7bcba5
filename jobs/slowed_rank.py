#!/usr/bin/env python3
"""Time Label Solve, or a kernel in a file, on ranks of which the last may be slowed to half its speed.

usage: mpirun -n 2 python jobs/slowed_rank.py WHAT SHARES SPEED [--set KEY=VALUE …]

    WHAT     label_solve or kernel, on digits with the ConvNet
    SHARES   dealt: as it is, work goes to whoever is free; static: each rank gets its equal part beforehand
    SPEED    full, or half: the last rank is stopped (SIGSTOP) every other 10 ms

Rank 0 prints the seconds. Give each rank a core of its own; medians of some rounds count.
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


def deal_nothing(dealing, tree, block_range):
    """Give each rank its part of the numbers, and let these be parts of one size."""

    def numbers(counter):
        comm = counter._comm
        yield from range(*block_range(counter._total, comm.Get_size(), comm.Get_rank()))

    dealing.Counter.__iter__ = numbers
    tree.Tree.dealt_out = lambda self, ranks: [tree.Node(0, place) for place in range(self.count)]


def command(what, folder, settings):
    """Return the words of the command line."""
    config = Path(__file__).parent / "demo/digits.toml"
    common = ["--set", "kernel.architecture=ConvNet", *settings]
    if what == "kernel":
        return ["kernel", str(config), "--output", f"{folder}/kernel.h5", "--tile", "64", *common]
    more = ["--set", "method=label_solve", "--set", "support.images_per_class=20", "--set", "data.test_size=10"]
    return ["run", str(config), "--output", f"{folder}/out", *more, *common]


def main():
    what, shares, speed, *settings = sys.argv[1:]
    from mpi4py import MPI

    from hpcdistill.__main__ import main as hpcdistill
    from hpcdistill.mpi import dealing, partition, tree

    comm = MPI.COMM_WORLD
    folder = comm.bcast(tempfile.mkdtemp() if comm.Get_rank() == 0 else None)
    if shares == "static":
        deal_nothing(dealing, tree, partition.block_range)
    slowed = None
    if speed == "half" and comm.Get_rank() == comm.Get_size() - 1:
        slowed = subprocess.Popen([sys.executable, "-c", STOP_AND_GO, str(os.getpid())])
    comm.Barrier()
    started = time.monotonic()
    try:
        code = hpcdistill(command(what, folder, settings))
    finally:
        if slowed is not None:
            slowed.terminate()
            slowed.wait()
    if comm.Get_rank() == 0:
        print(f"{what} {shares} {speed}: {time.monotonic() - started:.2f} s", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
