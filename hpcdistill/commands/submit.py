"""`hpcdistill submit`: hand runs to Slurm, or to this machine, through submitit. Needs neither MPI nor JAX."""

from __future__ import annotations

import argparse
import sys
import textwrap
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.cluster.profile import Profile, load_profile
from hpcdistill.cluster.sweep import Point, expand_sweeps
from hpcdistill.commands.run import add_run_arguments, default_output
from hpcdistill.config import load_config
from hpcdistill.errors import ConfigError, EnvironmentSetupError
from hpcdistill.schema import describe_keys

if TYPE_CHECKING:
    from hpcdistill.cluster.request import Request

HELP = "submit a run, or a sweep, to Slurm"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Submit `hpcdistill run CONFIG` as a Slurm job, one task per MPI rank, as PROFILE describes the cluster. A job
        that is preempted, reaches its time limit or loses a rank is requeued, and goes on from its last checkpoint.

          hpcdistill submit CONFIG.toml --profile slurm/cpu.toml --dry-run
          hpcdistill submit CONFIG.toml --profile slurm/cpu.toml --output runs/kip --wait
          hpcdistill submit CONFIG.toml --profile slurm/cpu.toml --sweep seed=0,1 --sweep support.images_per_class=1,10

        A sweep is a job array with a folder per point, OUTPUT/seed=0,images_per_class=1 and so on. `hpcdistill jobs`
        shows what was submitted, `hpcdistill cancel` ends it.
        """
    )
    parser.epilog = "keys of a profile, their defaults and meaning:\n" + describe_keys(Profile)
    add_run_arguments(parser)
    parser.add_argument("--profile", metavar="PROFILE.toml", required=True, help="the cluster; slurm/ has examples")
    parser.add_argument("--sweep", dest="sweeps", metavar="SECTION.KEY=A,B,C", action="append", default=[],
                        help="run with each of these values; several make all combinations")  # fmt: skip
    parser.add_argument("--device", metavar="NAME",
                        help="warn of a time limit that is too short at the speed of a device that `hpcdistill plan` "
                        "knows; without it, at the speed of this processor where that was measured")  # fmt: skip
    parser.add_argument("--wait", action="store_true", help="show states and progress until all is over")
    parser.add_argument("--dry-run", action="store_true", help="check everything and print the batch script only")


def main(args: argparse.Namespace) -> int:
    """Submit; with `--wait`, return the worst exit code of the jobs."""
    from hpcdistill.cluster.scheduler import find_scheduler

    request = _request(args)
    _refuse_if_busy(request)  # first: of a folder in which a job is at work, that is what matters
    request.check()
    _refuse_if_too_many(request, dry_run=args.dry_run)
    _warn_of_gpus(request)
    _warn_of_time(request, args.device)
    if args.dry_run:
        print(find_scheduler(request.profile.executor).script(request))
        return 0
    from hpcdistill.cluster.registry import remember
    from hpcdistill.cluster.submission import submit

    submission = submit(request)
    remember(submission)
    for job in submission.jobs:
        print(f"job {job.job_id}: {job.output}", flush=True)
    if not args.wait:
        print("`hpcdistill jobs` shows how they are doing")
        return 0
    from hpcdistill.cluster.watch import wait_for

    try:
        return wait_for(submission)
    except KeyboardInterrupt:
        ids = " ".join(job.job_id for job in submission.jobs)
        print(
            f"\nno longer waiting; the jobs go on. `hpcdistill jobs` shows them, `hpcdistill cancel {ids}` ends them."
        )
        return 130


def _refuse_if_too_many(request: Request, *, dry_run: bool) -> None:
    """Raise `ConfigError` if a sweep has more points than an array of the cluster can have jobs."""
    from hpcdistill.cluster.scheduler import find_scheduler

    scheduler, most = find_scheduler(request.profile.executor), None
    try:
        most = scheduler.most_jobs() if len(request.runs) > 1 and scheduler.is_there() else None
    except EnvironmentSetupError as error:
        if not dry_run:
            raise
        print(f"note: how many jobs an array may have is not known: {error}", file=sys.stderr)
    if most is not None and len(request.runs) > most:
        raise ConfigError(
            f"a sweep of {len(request.runs)} points: a job array of this cluster has at most {most} (MaxArraySize). "
            "Split it into several submissions, each with a part of the values of one --sweep."
        )


def _warn_of_gpus(request: Request) -> None:
    """Say where a run wants a GPU, and its profile asks Slurm for none."""
    if request.profile.executor != "slurm":  # here there is a GPU or not, whatever a profile says
        return
    resources = request.profile.resources
    asked = resources.gpus_per_node or any(name.startswith(("gpu", "gres")) for name in resources.sbatch)
    if not asked and any(run.config.kernel.backend == "cuda" for run in request.runs):
        print("hpcdistill: note: kernel.backend=cuda wants a GPU, and the profile asks for none: set "
              "resources.gpus_per_node, or kernel.backend=auto.", file=sys.stderr)  # fmt: skip


def _warn_of_time(request: Request, name: str | None) -> None:
    """Say where the time limit is shorter than a run takes, by speeds that are known. Nothing is measured."""
    from hpcdistill.bench.machine import cpu_model
    from hpcdistill.cost.rates import find_device, kept_device
    from hpcdistill.run.planning import seconds_by, why_too_long

    profile, device = request.profile, find_device(name) if name else kept_device(cpu_model())
    if device is None or request.resume or (not name and device.unit != profile.resources.unit):
        return
    seconds = [0.0]
    for run in request.runs:
        with suppress(*([] if name else [ConfigError])):  # of a device that was asked for it is said what it lacks
            seconds.append(seconds_by(run.config, device, profile.ranks, profile.resources.cpus_per_task) or 0.0)
    if max(seconds) > 60 * profile.time_minutes:
        why = why_too_long(max(seconds), profile.ranks, profile.resources.time)
        print(f"hpcdistill: note: at the speed of {device.title} a run takes {why}.", file=sys.stderr)


def _refuse_if_busy(request: Request) -> None:
    """Raise `ConfigError` if a job that was submitted before waits or works in one of the folders."""
    from hpcdistill.cluster.registry import submissions
    from hpcdistill.cluster.states import find_states

    outputs = {str(run.output) for run in request.runs}
    earlier = [s for s in submissions() if any(job.output in outputs for job in s.jobs)]
    states = find_states(earlier)
    for job, state in ((job, states[s.folder, job.job_id]) for s in earlier for job in s.jobs):
        if job.output in outputs and not state.finished and state.elsewhere:
            raise ConfigError(
                f"{job.output}: job {job.job_id} was submitted there, {state}, and has not said that it is over. Look "
                "and cancel it there, or give another folder with --output."
            )
        if job.output in outputs and not state.finished:
            raise ConfigError(
                f"{job.output}: job {job.job_id} is {state} there. Wait for it, end it with "
                f"`hpcdistill cancel {job.job_id}`, or give another folder with --output."
            )


def _request(args: argparse.Namespace) -> Request:
    from hpcdistill.cluster.request import Request, Run

    profile, points = load_profile(args.profile), expand_sweeps(args.sweeps)
    output = (args.output or default_output(args.config)).absolute()
    if twice := {key for point in points for key in point.values} & {
        s.partition("=")[0].strip() for s in args.settings
    }:
        raise ConfigError(f"{', '.join(sorted(twice))} is given by --set and by --sweep. Leave one out.")
    runs = tuple(
        Run(load_config(args.config, args.settings + point.settings), output / point.name, point.values)
        for point in points or [Point({}, "")]
    )
    return Request(f"hpcdistill-{Path(args.config).stem}", profile, runs, output / "slurm", args.resume)
