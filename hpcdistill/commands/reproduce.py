"""`hpcdistill reproduce`: the papers' tables, run here or collected from runs, beside what was published."""

from __future__ import annotations

import argparse
import fnmatch
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.commands.arguments import named_path

if TYPE_CHECKING:
    from hpcdistill.attempt import StopSignal
    from hpcdistill.mpi.binding import MPI
    from hpcdistill.paper.cells import Cell
    from hpcdistill.paper.collect import CellResult

HELP = "run the papers' experiments, and print their tables with ours beside theirs"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Print a table of the papers with what runs here have reached. Without TABLE: which tables there are.

          hpcdistill reproduce
          hpcdistill reproduce label-solve
          mpirun -n 4 hpcdistill reproduce label-solve --cell 'mnist-*' --run --seeds 0,1
          mpirun -n 4 hpcdistill reproduce kip-convnet --cell mnist-convnet-1 --run --set kip.steps=300
          mpirun -n 4 hpcdistill reproduce kip-convnet --cell mnist-convnet-1 --run --hours 1

        With --hours a run of KIP gets as far as it can in the time given, with settings of ours in place of the
        papers'; what to expect is said before it starts.

        Runs are looked for, and made, in OUTPUT/TABLE/CELL/seed=N. Each cell's configuration is a file, too, in
        jobs/paper/TABLE/CELL.toml, for `hpcdistill run` and `hpcdistill submit --sweep seed=0,1 --output
        OUTPUT/TABLE/CELL`. What a run does differently (fewer steps, smaller batches) is said beside its figure.
        """
    )
    parser.add_argument("table", metavar="TABLE", nargs="?", help="a table's name")
    parser.add_argument("--cell", metavar="PATTERN", default="*", help="only cells with such names, such as 'mnist-*'")
    parser.add_argument("--output", type=named_path, metavar="DIR",
                        help="default: runs/paper, or runs/paper-in-N-hours with --hours N")  # fmt: skip
    parser.add_argument("--run", action="store_true", help="first make, or continue, the runs")
    parser.add_argument("--hours", type=float, metavar="N", help="with --run: what each run of KIP may take")
    parser.add_argument("--seeds", metavar="0,1", default="0", help="with --run: a run for each (default: 0)")
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="with --run: override one key, such as data.root=DIR")  # fmt: skip


def main(args: argparse.Namespace) -> int:
    """Print a table, after its runs where these are asked for; then collective under MPI."""
    from hpcdistill.attempt import StopSignal
    from hpcdistill.errors import ConfigError
    from hpcdistill.launcher import is_first_rank

    if args.table is None:
        _print_tables()
        return 0
    chosen = _chosen(args)
    if args.hours is not None and not 0 < args.hours < float("inf"):
        raise ConfigError(f"--hours {args.hours} must be a number above 0.")
    if args.output is None:
        args.output = Path("runs/paper" if args.hours is None else f"runs/paper-in-{args.hours:g}-hours")
    if not args.seeds.replace(",", "").isdigit():
        raise ConfigError(f"--seeds {args.seeds!r} must list whole numbers, such as 0,1.")
    code = 0
    if args.run:
        with StopSignal() as asked:
            from hpcdistill.mpi.runtime import run_collectively

            code = run_collectively(lambda comm: _run(comm, chosen, args, asked))
    if is_first_rank() and code == 0:
        _print_table(args, chosen)
    return code


def _chosen(args: argparse.Namespace) -> list[Cell]:
    from hpcdistill.errors import ConfigError
    from hpcdistill.paper.cells import cells_of

    cells = cells_of(args.table)
    chosen = [cell for cell in cells if fnmatch.fnmatchcase(cell.name, args.cell)]
    if not chosen:
        raise ConfigError(f"--cell {args.cell!r} is none of {', '.join(cell.name for cell in cells)}.")
    return chosen


def _run(comm: MPI.Intracomm, chosen: list[Cell], args: argparse.Namespace, asked: StopSignal) -> int:
    from hpcdistill.config import parse_config
    from hpcdistill.mpi.shared import free_windows
    from hpcdistill.paper.collect import cell_folder
    from hpcdistill.run.execute import execute

    for cell in chosen:
        for seed in args.seeds.split(","):
            within = [] if args.hours is None else cell.within(args.hours)
            config = parse_config(cell.to_toml(), [*within, *args.settings, f"seed={seed}"], cell.name)
            if within and comm.Get_rank() == 0:
                print(_expectation(cell, args.hours), flush=True)
            execute(comm, config, cell_folder(args.output, cell) / f"seed={seed}", asked, resume=True)
            free_windows()  # this run's images: the next one reads its own
    return 0


def _expectation(cell: Cell, hours: float) -> str:
    from hpcdistill.progress import duration

    before = "; ".join(cell.measured) or "not measured"
    return f"{cell.name}: {duration(3600 * hours)}; published {cell.published} %, reached before: {before}"


def _print_tables() -> None:
    from hpcdistill.paper.cells import cells_of, tables

    for name, table in tables().items():
        print(f"{name:<12} {len(cells_of(name)):>3} cells: {table['title']} ({table['source']})")


def _print_table(args: argparse.Namespace, chosen: list[Cell]) -> None:
    from rich.table import Table

    from hpcdistill.cluster.table import table_console
    from hpcdistill.paper.cells import tables
    from hpcdistill.paper.collect import collect

    title, source = tables()[args.table]["title"], tables()[args.table]["source"]
    print(f"{title}\ntest accuracy in %; published: {source}; ours: mean of runs in {args.output}")
    table = Table(box=None)
    for name in ("cell", "published", "ours", "difference", "runs"):
        table.add_column(name, justify="left" if name == "cell" else "right", no_wrap=True)
    table.add_column("not as published", overflow="fold")
    if any(cell.also for cell in chosen):
        table.add_column("also published", no_wrap=True)
    for cell in chosen:
        table.add_row(*_row(collect(args.output, cell)))
    table_console().print(table)


def _row(reached: CellResult) -> tuple[str, ...]:
    published = f"{reached.cell.published:.2f}"
    also = [", ".join(f"{name} {figure}" for name, figure in reached.cell.also.items())] if reached.cell.also else []
    if reached.mean is None:
        return reached.cell.name, published, "–", "–", "0", "", *also
    spread = f" ± {reached.spread:.2f}" if reached.spread is not None else ""
    difference = f"{reached.mean - reached.cell.published:+.2f}"
    ours = f"{reached.mean:.2f}{spread}"
    runs, differences = str(len(reached.accuracies)), "; ".join(reached.differences)
    return reached.cell.name, published, ours, difference, runs, differences, *also
