"""`hpcdistill cancel`: end submitted runs. Needs neither MPI nor JAX."""

from __future__ import annotations

import argparse

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
    """Cancel, and say what was cancelled."""
    from hpcdistill.cluster import local, slurm
    from hpcdistill.cluster.registry import choose, submissions
    from hpcdistill.cluster.states import find_states

    chosen = choose(submissions(), args.ids)
    states = find_states(list({s.submitted: s for s, _ in chosen}.values()))
    active = [(s, job) for s, job in chosen if not states[s.folder, job.job_id].finished]
    slurm_ids = [job.job_id for s, job in active if s.executor == "slurm"]
    if slurm_ids:
        slurm.cancel(slurm_ids)
    for s, job in active:
        if s.executor == "local":
            local.cancel(job.job_id)
    for s, job in chosen:
        over = (s, job) not in active
        print(f"job {job.job_id}: {f'{states[s.folder, job.job_id].name} already' if over else 'cancelled'}")
    return 0
