"""`hpcdistill jobs`: what was submitted, and how it is doing. Needs neither MPI nor JAX."""

from __future__ import annotations

import argparse

HELP = "list submitted runs: state, step, loss, accuracy"
_LAST = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "List the runs that you have submitted and whose output folders are still there, the newest last. Step, loss, "
        "accuracy and seconds are those of the newest checkpoint. IDs choose jobs, or whole arrays by their number."
    )
    parser.add_argument("ids", metavar="ID", nargs="*", help=f"jobs to show (default: the last {_LAST})")
    parser.add_argument("--all", action="store_true", help="show all")


def main(args: argparse.Namespace) -> int:
    """Print the table."""
    from pathlib import Path

    from hpcdistill.cluster.progress import read_progress, why_unreadable
    from hpcdistill.cluster.registry import choose, submissions
    from hpcdistill.cluster.states import find_states
    from hpcdistill.cluster.table import JobRow, jobs_table, table_console

    found = submissions()
    chosen = choose(found, args.ids) if args.ids else [(s, job) for s in found for job in s.jobs]
    if not chosen:
        print("nothing submitted yet, or no output folder left. `hpcdistill submit --help` explains how.")
        return 0
    shown = chosen if args.all or args.ids else chosen[-_LAST:]
    states = find_states(list({s.submitted: s for s, _ in shown}.values()))
    rows = [JobRow(job, states[s.folder, job.job_id], read_progress(Path(job.output))) for s, job in shown]
    console = table_console()
    console.print(jobs_table(rows))
    if why := why_unreadable():
        console.print(why, markup=False)
    if len(shown) < len(chosen):
        console.print(f"and {len(chosen) - len(shown)} before these: hpcdistill jobs --all")
    return 0
