"""`hpcdistill plan`: what a run costs, before it starts. Needs MPI only to measure, and can do without there, too."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import textwrap
from functools import partial
from typing import TYPE_CHECKING

from hpcdistill.cluster.profile import Profile, load_profile
from hpcdistill.commands.arguments import positive
from hpcdistill.config import Config, load_config
from hpcdistill.errors import ConfigError
from hpcdistill.launcher import is_started_alone

if TYPE_CHECKING:
    from hpcdistill.cost.plan import Case, Node, PlanRow
    from hpcdistill.cost.rates import Device
    from hpcdistill.cost.work import Images, Work
    from hpcdistill.mpi.binding import MPI

HELP = "say what a run costs before it starts: time, memory, messages, files"

#: What `--device` is called that means this machine.
HERE = "here"
#: Ranks that a plan is made for, and cores of each.
_MOST_RANKS, _MOST_CORES = 1_000_000, 1024


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Say what `hpcdistill run CONFIG` costs on several numbers of ranks, without running it.

          hpcdistill plan jobs/demo/digits.toml
          hpcdistill plan jobs/demo/digits.toml --set kip.steps=1000 --ranks 1,8,64
          hpcdistill plan jobs/experiments/cifar10_fc_kip.toml --profile slurm/cpu.toml --json

        Speeds are measured here, in a few seconds, and kept for the next time: on one rank, or on as many at once as a
        run will have on a node, where each core has less than one that computes alone:

          mpirun -n 4 hpcdistill plan jobs/demo/digits.toml --measure
        """
    )
    parser.epilog = textwrap.dedent(
        """\
        Time is that of kernel entries, dense algebra, and images made ready: reading data, fitting ZCA, messages and
        files come on top.
        """
    )
    parser.add_argument("config", metavar="CONFIG.toml", help="what is to be run")
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="override one key of the configuration; may be repeated")  # fmt: skip
    parser.add_argument("--ranks", metavar="N,N,…", type=_numbers, default=None,
                        help="numbers of ranks (default: 1, 2, 4, 8; with --profile those of its job)")  # fmt: skip
    parser.add_argument("--threads", metavar="N", type=_cores,
                        help="cores of each rank (default: the profile's, else OMP_NUM_THREADS, else all)")  # fmt: skip
    parser.add_argument("--profile", metavar="PROFILE.toml", help="a cluster: ranks, cores, memory and time limit")
    parser.add_argument("--device", metavar="NAME", default=HERE,
                        help="whose speeds: this machine's, or of a device that is known (default: here)")  # fmt: skip
    parser.add_argument("--kernel-file", action="store_true",
                        help="plan `hpcdistill kernel`, with its defaults, of the training images instead")  # fmt: skip
    parser.add_argument("--measure", action="store_true", help="measure this machine anew")
    parser.add_argument("--json", action="store_true", help="print JSON, in seconds and bytes")


def main(args: argparse.Namespace) -> int:
    """Plan: on one process, without MPI but to measure; or on the ranks that a launcher has started."""
    if is_started_alone():
        return _plan(args)
    from hpcdistill.mpi.runtime import run_collectively

    return run_collectively(lambda comm: _plan(args, comm))


def _plan(args: argparse.Namespace, comm: MPI.Intracomm | None = None) -> int:
    if args.measure and args.device != HERE:
        raise ConfigError(f"--measure is for this machine: leave out --device {args.device}.")
    config, profile = load_config(args.config, args.settings), load_profile(args.profile) if args.profile else None
    cores = args.threads or (profile.resources.cpus_per_task if profile else int(os.environ["OMP_NUM_THREADS"]))
    os.environ["OMP_NUM_THREADS"] = str(min(cores, len(os.sched_getaffinity(0))))
    from hpcdistill.cost.plan import plan_rows, why_too_large  # NumPy, which reads that once
    from hpcdistill.run.planning import images_of

    images = images_of(config)
    assert images is not None  # data of one's own are read
    case = _case(config, images, cores, args, comm)
    numbers = args.ranks or ([profile.ranks] if profile else [1, 2, 4, 8])
    rows, node = plan_rows(case, numbers), _node(profile, cores)
    shortages = [why for ranks in numbers if node and (why := why_too_large(case, ranks, node))]
    warnings = [*case.work.notes, *_other_unit(profile, case), *_idle(case, numbers), *shortages]
    warnings += _too_long(profile, rows)
    if comm is not None and comm.Get_rank() > 0:
        return 0
    print(_json(case, rows, warnings)) if args.json else _show(config, case, rows, warnings)
    return 0


def _numbers(text: str) -> list[int]:
    return sorted({_at_most(_MOST_RANKS, part.strip()) for part in text.split(",")})


def _cores(text: str) -> int:
    return _at_most(_MOST_CORES, text)


def _at_most(most: int, text: str) -> int:
    if (number := positive(text)) > most:
        raise argparse.ArgumentTypeError(f"must be at most {most:,}, not {number}")
    return number


def _case(config: Config, images: Images, cores: int, args: argparse.Namespace, comm: MPI.Intracomm | None) -> Case:
    from hpcdistill.cost.kernel_file import kernel_file_work
    from hpcdistill.cost.plan import Case
    from hpcdistill.cost.rates import find_device
    from hpcdistill.io.tile import DEFAULT_TILE
    from hpcdistill.run.planning import kernel_of, work_of

    if args.kernel_file:
        config = dataclasses.replace(config, kernel=dataclasses.replace(config.kernel, precision="float64"))
    work = kernel_file_work(images, DEFAULT_TILE) if args.kernel_file else work_of(config, images)
    device = find_device(args.device) if args.device != HERE else _here(config, images, work, comm, anew=args.measure)
    return Case(work, images, kernel_of(config), device, cores)


def _here(config: Config, images: Images, work: Work, comm: MPI.Intracomm | None, *, anew: bool) -> Device:
    """Return this machine's speeds: those that are kept, or measured now, on all ranks, where some are missing."""
    from hpcdistill.bench.machine import cpu_model
    from hpcdistill.cost.plan import needed_names
    from hpcdistill.cost.rates import keep, kept_device, kernel_name
    from hpcdistill.run.planning import kernel_of

    kernel, processor = kernel_of(config), cpu_model()
    needed = {kernel_name(network, kernel.kind, images.shape, dtype, kernel.backend): (network, dtype)
              for network, dtype in needed_names(work, kernel, images.shape)}  # fmt: skip
    kept = kept_device(processor)
    is_known = kept is not None and not anew and needed.keys() <= kept.entries.keys()
    if not _on_any(comm, not is_known):
        assert kept is not None  # it is known on every rank
        return kept
    from hpcdistill.bench.rates import measure_device, measure_together

    kernels = {name: (config.with_architecture(network).architecture, dtype)
               for name, (network, dtype) in needed.items()}  # fmt: skip
    support = config.support.images_per_class * images.classes or images.train
    measure = partial(measure_device, kernels, images.shape, config.kernel.backend, support)
    is_first = comm is None or comm.Get_rank() == 0
    if is_first and (busy := _busy()):
        print(f"note: {busy}", file=sys.stderr)
    device = measure() if comm is None else measure_together(comm, measure)
    if is_first:
        keep(processor, device)
    return device


def _on_any(comm: MPI.Intracomm | None, here: bool) -> bool:
    """Return whether something is so on any rank. Collective, where there are ranks."""
    if comm is None:
        return here
    from hpcdistill.mpi.collectives import agree_any

    return agree_any(comm, here)


def _busy() -> str:
    """Return what is to be said where other work slows a measurement; "" where none does."""
    load, cores = os.getloadavg()[0], len(os.sched_getaffinity(0))
    if load < cores:
        return ""
    on = f"{cores} core{'s' * (cores > 1)}"
    return (f"this machine is busy (a load of {load:.1f} on {on}): speeds measured now are too low. Measure again "
            "with --measure when it is not.")  # fmt: skip


def _node(profile: Profile | None, cores: int) -> Node | None:
    """Return the nodes of a profile that says their memory; without one this machine; None where nobody knows."""
    from hpcdistill.cost.memory import parse_memory
    from hpcdistill.cost.plan import Node
    from hpcdistill.data.memory import available_bytes

    if profile:
        memory = profile.resources.memory
        return Node(profile.resources.tasks_per_node, parse_memory(memory)) if memory else None
    free = available_bytes()
    return None if free is None else Node(max(1, len(os.sched_getaffinity(0)) // cores), free)


def _other_unit(profile: Profile | None, case: Case) -> list[str]:
    if profile is None or profile.resources.unit == case.device.unit:
        return []
    return [f"ranks of this profile compute on a {profile.resources.unit}, and these are speeds of a "
            f"{case.device.unit}: choose another --device"]  # fmt: skip


def _idle(case: Case, numbers: list[int]) -> list[str]:
    most = case.work.step.parts
    if not most or max(numbers) <= most:
        return []
    return [f"more than {most:,} rank{'s' * (most > 1)} have no kernel entries to compute in a {case.work.step.name}"]


def _too_long(profile: Profile | None, rows: list[PlanRow]) -> list[str]:
    from hpcdistill.run.planning import why_too_long

    return [
        why_too_long(row.total_seconds, row.ranks, profile.resources.time)
        for row in rows
        if profile and row.total_seconds > 60 * profile.time_minutes
    ]


def _json(case: Case, rows: list[PlanRow], warnings: list[str]) -> str:
    content = {
        "entries": sum(max(phase.times, 1) * phase.entries for phase in case.work.phases),
        "flops": sum(max(phase.times, 1) * phase.all_flops for phase in case.work.phases),
        "phases": [{"name": phase.name, "times": phase.times, "entries": phase.entries, "flops": phase.all_flops}
                   for phase in case.work.phases],
        "files": dict(case.work.files), "device": case.device.title, "unit": case.device.unit,
        "measured": case.device.date, "units_per_rank": case.units,
        "rows": [dataclasses.asdict(row) for row in rows], "notes": warnings,
    }  # fmt: skip
    return json.dumps(content, indent=1)


def _show(config: Config, case: Case, rows: list[PlanRow], warnings: list[str]) -> None:
    from rich.table import Table

    from hpcdistill.cluster.table import table_console

    console, work = table_console(), case.work
    console.print("\n".join(_heading(config, case)), markup=False)
    table = Table(box=None)
    hours = f"{case.device.unit}-hours"
    for name in ("ranks", f"s / {work.step.name}", f"{work.step.name}s" if work.hours else "", "total", hours,
                 "GiB / rank", f"MB sent / {work.step.name}, rank"):  # fmt: skip
        if name:
            table.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        steps = [f"{row.steps:,}"] if work.hours else []
        table.add_row(str(row.ranks), _number(row.step_seconds), *steps, _time(row.total_seconds),
                      _number(row.device_hours), f"{row.rank_bytes / 2**30:.2f}", _mb(row.sent_bytes))  # fmt: skip
    console.print(table)
    for one in warnings:
        console.print(f"note: {one}", markup=False)


def _time(seconds: float) -> str:
    from hpcdistill.progress import duration

    return f"{seconds:.2g} s" if seconds < 10 else duration(seconds)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _mb(n_bytes: float) -> str:
    return _number(n_bytes / 1e6)


def _heading(config: Config, case: Case) -> list[str]:
    """Return what does not depend on the number of ranks."""
    images, device = case.images, case.device
    shape = "×".join(map(str, images.shape))
    cores = "" if case.on_gpu else f", {case.cores} core{'s' * (case.cores > 1)} a rank"
    lines = [f"{config.data.name}: {images.train:,} training and {images.test:,} test images "
             f"of {shape}, {case.kernel.network}",
             f"at the speed of {device.title}, measured {device.date}{cores}"]  # fmt: skip
    for phase in case.work.phases:
        times = f"{phase.times:,} × " if phase.times > 1 else ""
        flops = f", {phase.all_flops:.3g} operations of linear algebra" if phase.all_flops else ""
        lines.append(f"  {phase.name}: {times}{phase.entries:,.0f} kernel entries{flops}")
    if any(phase.all_flops for phase in case.work.phases) and not device.gflops:
        lines.append("  operations of linear algebra are not in the time: their speed was not measured there")
    lines += [f"  {name}: {_mb(n_bytes)} MB" for name, n_bytes in case.work.files.items()]
    return lines
