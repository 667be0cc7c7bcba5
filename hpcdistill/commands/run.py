"""`hpcdistill run`: distil a data set, alone or under mpirun/srun."""

from __future__ import annotations

import argparse
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.attempt import StopSignal
from hpcdistill.commands.arguments import Parser, named_path
from hpcdistill.config import config_class, load_config
from hpcdistill.method import usable_methods
from hpcdistill.schema import describe_keys

if TYPE_CHECKING:
    from hpcdistill.mpi.binding import MPI

HELP = "distil a data set (KIP, Label Solve) or measure natural images (KRR)"


def add_arguments(parser: Parser) -> None:
    """Declare the command's arguments."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.dedent(
        """\
        Run the experiment that CONFIG describes. Use as many MPI ranks as you like: the result does not depend on it.

          hpcdistill run jobs/demo/digits.toml
          mpirun -n 4 hpcdistill run jobs/demo/digits.toml --set kip.steps=100 --output runs/digits
          mpirun -n 2 hpcdistill run jobs/demo/digits.toml --set kip.steps=100 --output runs/digits --resume

        Names of files in CONFIG are relative to its folder, those in --set to the current one. A run that goes on may
        find its data under another name: what counts is that images and labels are the same.
        """
    )
    parser.closing = _describe_keys
    add_run_arguments(parser)


def _describe_keys() -> str:
    keys = describe_keys(config_class(usable_methods()))
    return f"configuration keys, their defaults and meaning:\n{keys}"


def add_run_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what says which run is meant."""
    parser.add_argument("config", metavar="CONFIG.toml", help="what to run")
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help="override one key of the configuration; may be repeated")  # fmt: skip
    parser.add_argument(
        "--output", type=named_path, metavar="DIR", help="where to write (default: runs/<name of CONFIG>)"
    )
    parser.add_argument(
        "--resume", action="store_true", help="continue from the newest checkpoint in the output folder"
    )


def main(args: argparse.Namespace) -> int:
    """Run. Collective under MPI."""
    with StopSignal() as asked:  # before anything slow is imported
        from hpcdistill.mpi.collectives import on_root
        from hpcdistill.mpi.runtime import run_collectively

        def body(comm: MPI.Intracomm) -> int:
            config = on_root(comm, lambda: load_config(args.config, args.settings))
            from hpcdistill.run.execute import execute

            execute(comm, config, args.output or default_output(args.config), asked, resume=args.resume)
            return 0

        return run_collectively(body)


def default_output(config: str) -> Path:
    """Return the folder of a configuration's run where none is given."""
    return Path("runs") / Path(config).stem
