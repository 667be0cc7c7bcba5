"""What submitit runs on this machine: mpirun, started again where a rank was killed, as a batch script does on Slurm.

It is pickled where jobs are submitted, so it holds texts and numbers only.
"""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from hpcdistill.attempt import KILLED, RUNNING, STOP_SIGNALS, read_status, status_path
from hpcdistill.errors import EXIT_STOPPED

#: What is in the status file of a run that waits for its turn, and of one that somebody has cancelled.
WAITING, CANCELLED = "waiting", "cancelled"
#: Seconds a run that is cancelled has to save before it is killed.
_GRACE_SECONDS = 120


@dataclass(frozen=True)
class LocalTask:
    """One run of `mpirun … hpcdistill run`.

    Attributes:
        script: shell lines that end with the command; `"$@"` there stands for what a further attempt adds.
        folder: for status files, the same for all runs that take turns.
        parallel: how many of these may run at a time.
    """

    script: str
    folder: str
    parallel: int
    max_restarts: int
    signal_delay_seconds: int

    def __call__(self) -> None:
        """Run, and end the process with the run's exit code."""
        job, mpirun = os.environ["SUBMITIT_LOCAL_JOB_ID"], Mpirun()
        status = status_path(Path(self.folder), job, 1)
        status.write_text(WAITING + "\n")
        turn = self._take_turn(mpirun)  # held until the process ends
        for attempt in range(1, self.max_restarts + 2):
            status = status_path(Path(self.folder), job, attempt)
            status.unlink(missing_ok=True)
            code = mpirun.run(self.script, self._environment(status, attempt), resume=attempt > 1)
            found = _conclude(status, code, cancelled=mpirun.cancelled)
            if found != KILLED:
                break
            then = f"restart {attempt} of {self.max_restarts}" if attempt <= self.max_restarts else "no restart is left"
            print(f"hpcdistill: ranks were killed (mpirun ended with code {code}); {then}", file=sys.stderr)
        del turn
        sys.exit(int(found) if found.isdigit() else EXIT_STOPPED if found == CANCELLED else code)

    def _environment(self, status: Path, attempt: int) -> dict[str, str]:
        return os.environ | {
            "HPCDISTILL_ATTEMPT": str(attempt),
            "HPCDISTILL_STATUS": str(status),
            "HPCDISTILL_SIGNAL_DELAY": str(self.signal_delay_seconds),
        }

    def _take_turn(self, mpirun: Mpirun) -> IO[str] | None:
        """Wait until fewer than `parallel` others run; return what holds the turn (None where files have no locks)."""
        while not mpirun.cancelled:
            for k in range(self.parallel):
                file = (Path(self.folder) / f"turn-{k}.lock").open("w")
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return file
                except BlockingIOError:
                    file.close()
                except OSError:
                    return None
            time.sleep(0.2)
        return None


def _conclude(status: Path, code: int, *, cancelled: bool) -> str:
    """Return, and note, how an attempt ended whose mpirun ended with `code`."""
    said = read_status(status)
    if cancelled:
        said = CANCELLED
    elif not said.isdigit():
        said = str(code) if said != RUNNING and code <= 128 else KILLED
    status.write_text(said + "\n")
    return said


class Mpirun:
    """A child process that hears of the signals sent to this one.

    mpirun passes USR2 on to its ranks, which save and stop; TERM would end them within a second. So TERM, which means
    that somebody has cancelled, is passed on as USR2 first.
    """

    def __init__(self) -> None:
        self.cancelled = False
        self._process: subprocess.Popen[bytes] | None = None
        self._deadline = float("inf")
        for number in STOP_SIGNALS:
            signal.signal(number, self._pass_on)

    def run(self, script: str, environment: dict[str, str], *, resume: bool) -> int:
        """Run a script to its end and return its exit code, 128 + n where signal n ended it."""
        if self.cancelled:
            return EXIT_STOPPED
        command = ["bash", "-c", script, "bash", *(["--resume"] if resume else [])]
        self._process = subprocess.Popen(command, env=environment, start_new_session=True)
        while (code := self._process.poll()) is None:
            if time.monotonic() > self._deadline:
                os.killpg(self._process.pid, signal.SIGTERM)
                self._deadline = float("inf")
            time.sleep(0.1)
        return code if code >= 0 else 128 - code

    def _pass_on(self, number: int, frame: object) -> None:
        del frame
        if number == signal.SIGTERM:
            self.cancelled, self._deadline = True, time.monotonic() + _GRACE_SECONDS
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGUSR2)
