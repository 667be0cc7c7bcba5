"""What submitit runs on each rank of a Slurm job.

It is pickled where jobs are submitted, so it holds texts only, and imports nothing heavy until it is called.
"""

from __future__ import annotations

import runpy
import signal
import sys
from dataclasses import dataclass

from hpcdistill.attempt import attempt_number


@dataclass(frozen=True)
class RunTask:
    """One rank of `hpcdistill run`. A job that Slurm has started again resumes from its files, not from this object."""

    arguments: tuple[str, ...]

    def __call__(self) -> None:
        """Run, and end the process with the run's exit code."""
        signal.signal(signal.SIGCONT, signal.SIG_DFL)  # submitit logs a line for each, on each rank
        resume = ["--resume"] if attempt_number() > 1 and "--resume" not in self.arguments else []
        sys.argv = ["hpcdistill", *self.arguments, *resume]
        runpy.run_module("hpcdistill", run_name="__main__", alter_sys=True)
