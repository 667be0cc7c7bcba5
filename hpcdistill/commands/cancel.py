"""`hpcdistill cancel`: end submitted runs. Needs neither MPI nor JAX."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpcdistill.cluster.states import JobState

HELP = "cancel submitted runs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "Cancel jobs that `hpcdistill submit` has started; the number of an array means all its jobs. A run that is at "
        "work is told to save first, for which Slurm gives it some seconds (KillWait, 30 by default). Continue it with "
        "`hpcdistill submit --resume`."
    )
    parser.add_argument("ids", metavar="ID", nargs="+", help="jobs, as `hpcdistill jobs` lists them")


def main(args: argparse.Namespace) -> int:
    """Cancel, and say what was cancelled; the exit code is 2 where a job can be cancelled elsewhere only."""
    from hpcdistill.cluster.registry import choose, submissions
    from hpcdistill.cluster.scheduler import find_scheduler
    from hpcdistill.cluster.states import find_states

    chosen = choose(submissions(), args.ids)
    states = find_states(list({s.submitted: s for s, _ in chosen}.values()))
    live = [(s, job) for s, job in chosen if not states[s.folder, job.job_id].finished]
    active = [(s, job) for s, job in live if not states[s.folder, job.job_id].elsewhere]
    for name in dict.fromkeys(s.executor for s, _ in active):
        find_scheduler(name).cancel([job.job_id for s, job in active if s.executor == name])
    for s, job in chosen:
        print(f"job {job.job_id}: {_outcome(states[s.folder, job.job_id])}")
    return 0 if active == live else 2


def _outcome(state: JobState) -> str:
    if state.finished:
        return f"{state.name} already"
    return f"is {state.name}, where it has to be cancelled" if state.elsewhere else "cancelled"
