"""Killing one rank of a run again and again, resuming it each time, and comparing it with an undisturbed run.

As a script: `python tests/system/kill_loop.py [KILLS]`.
"""

import argparse
import random
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from launch import (
    TIMEOUT_SECONDS,
    command_line,
    end_session,
    kill,
    rank_processes,
    run,
    start,
    wait_until,
    write_config,
)
from own_files import read_own

#: A kill comes after at most so many new checkpoints, and so many seconds more.
MOST_NEW, LONGEST_DELAY = 8, 0.03
#: So that a run never ends before it is killed.
STEPS_PER_KILL = 24


@dataclass(frozen=True)
class Job:
    """A run on some ranks in an output folder."""

    config: Path
    output: Path
    ranks: int = 2

    @property
    def arguments(self):
        return ["run", str(self.config), "--output", str(self.output)]

    def finish(self, *, resume=False):
        """Run to the end."""
        result = run(*self.arguments, *(["--resume"] if resume else []), ranks=self.ranks, timeout=7 * TIMEOUT_SECONDS)
        if result.code:
            raise AssertionError(f"exit code {result.code}: {result.stderr}")
        return result

    def checkpoints(self):
        """The checkpoint files, oldest first."""
        return sorted((self.output / "checkpoints").glob("step-*.h5"))


@dataclass(frozen=True)
class Kill:
    """A kill: of which rank, how long after how many new checkpoints, and what it left.

    Attributes:
        step, checked: the newest complete step and the number of checkpoints.
        in_write: whether a checkpoint was being written.
        code: the launcher's exit code.
    """

    rank: int
    new: int
    delay: float
    step: int
    checked: int
    in_write: bool
    code: int

    def __str__(self):
        when = "while writing a checkpoint" if self.in_write else "between checkpoints"
        return (f"rank {self.rank}, {self.delay * 1000:.0f} ms after {self.new} new checkpoints, {when}; mpiexec ended "
                f"with {self.code}; {self.checked} checkpoints complete, newest step {self.step}")  # fmt: skip


def kill_one_rank(job, rng, step=-1):
    """Start (or resume) a run, kill a random rank at a random moment after it has saved, and check what is left.

    Args:
        step: the newest step that has been saved before.
    """
    rank, new, delay = rng.randrange(job.ranks), rng.randint(1, MOST_NEW), rng.uniform(0, LONGEST_DELAY)
    process = start([*command_line(job.ranks), *job.arguments, "--resume"],
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        pids = rank_processes(process, job.ranks)
        wait_until(lambda: newest_step(job) >= step + new, f"a checkpoint of step {step + new}", process, every=0.002)
        time.sleep(delay)
        assert kill(pids[rank]), "the run ended before it could be killed: give it more steps"
        code = process.wait(TIMEOUT_SECONDS)
    finally:
        end_session(process)
        process.wait()
    in_write = any((job.output / "checkpoints").glob("*.tmp"))
    return Kill(rank, new, delay, *check_checkpoints(job, step + new), in_write, code)


def newest_step(job):
    """The newest step that has a checkpoint, or -1."""
    return max(map(_step, job.checkpoints()), default=-1)


def _step(path):
    return int(path.stem.removeprefix("step-"))


def check_checkpoints(job, minimum_step):
    """Return the newest step and the number of checkpoints, having read them all.

    `latest.h5` is the newest or the one before: a kill may come when the newest is there and the link not yet moved.
    """
    found = job.checkpoints()
    for path in found:
        assert read_own(path).attributes["step"] == _step(path)
    newest = _step(found[-1])
    assert newest >= minimum_step, f"step {minimum_step} had been saved, and now the newest is {newest}"
    latest = job.output / "latest.h5"
    allowed = [newest, newest - 1] if len(found) > 1 else [newest, None]  # before the first there is no link
    assert (read_own(latest).attributes["step"] if latest.exists() else None) in allowed
    return newest, len(found)


def differences(one, other):
    """Names of the arrays that are not equal bit for bit in two runs' last checkpoints; times are left out."""
    a, b = (read_own(job.output / "latest.h5").arrays for job in (one, other))
    assert a.keys() == b.keys()
    return [name for name in a if name != "history/seconds" and a[name].tobytes() != b[name].tobytes()]


def kill_repeatedly(job, kills, rng):
    """Kill a run `kills` times, print each, then let the run end; return how many checkpoints were checked."""
    checked, step = 0, -1
    for number in range(1, kills + 1):
        done = kill_one_rank(job, rng, step)
        print(f"kill {number}: {done}")
        assert done.code != 0
        checked, step = checked + done.checked, done.step
    job.finish(resume=True)
    return checked


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kills", type=int, nargs="?", default=50)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        steps = args.kills * STEPS_PER_KILL
        config = write_config(folder / "c.toml", kip={"steps": steps, "evaluate_every": 50})
        undisturbed, disturbed = (Job(config, folder / output) for output in ("undisturbed", "disturbed"))
        undisturbed.finish()
        checked = kill_repeatedly(disturbed, args.kills, random.Random(args.seed))
        unequal = differences(disturbed, undisturbed)
    if unequal:
        print(f"{args.kills} kills: different in the end: {', '.join(unequal)}")
        return 1
    print(f"{args.kills} kills: {checked} checkpoints checked, none lost, final support identical")
    return 0


if __name__ == "__main__":
    sys.exit(main())
