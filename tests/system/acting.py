"""Python for a rank, with gradients, checkpoints or tiles that are slow, or gradients that fail on one rank.

`python acting.py slow=SECONDS pause=SECONDS tile=SECONDS stall=COUNT fail=RANK -u -m MODULE ARGUMENTS`, as a command,
or as `launch.python` of a profile: `slow` is of gradients, `pause` of checkpoints, `tile` of kernels in files. After
COUNT of those that are slow the first attempt at a job all but stands, so that a test that means to disturb it finds it
at work, however late it comes.
"""

import os
import runpy
import sys
import time

from mpi4py import MPI

from hpcdistill.io.kernel_file import KernelFile
from hpcdistill.learning.krr import KernelRegression
from hpcdistill.run.recorder import Recorder

#: Seconds of a gradient, a checkpoint or a tile of a run that stalls.
STALLED_SECONDS = 3.0


def act(kind, method, seconds, stall, failing_rank=-1):
    """Let a method take longer, and longer still after `stall` calls, and the third call fail on one rank."""
    done, calls = getattr(kind, method), []

    def acted(self, *arguments, **options):
        calls.append(None)
        time.sleep(seconds if len(calls) <= stall else STALLED_SECONDS)
        if MPI.COMM_WORLD.Get_rank() == failing_rank and len(calls) == 3:
            raise LookupError("a cosmic ray")
        return done(self, *arguments, **options)

    setattr(kind, method, acted)


def main():
    module = sys.argv.index("-m")
    options = dict(option.split("=") for option in sys.argv[1:module] if "=" in option)
    first = os.environ.get("HPCDISTILL_ATTEMPT", "1") == "1"
    stall = int(options["stall"]) if "stall" in options and first else sys.maxsize
    if "pause" in options:
        act(Recorder, "save", float(options["pause"]), stall)
    elif "tile" in options:
        act(KernelFile, "write", float(options["tile"]), stall)
    else:
        act(KernelRegression, "gradient", float(options.get("slow", 0)), stall, int(options.get("fail", -1)))
    sys.argv = sys.argv[module + 1 :]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
