"""Command line: `hpcdistill COMMAND …`, also `python -m hpcdistill`. Parse, call, exit code.

Exit codes: 0 done · 1 internal error · 2 wrong input · 3 the computation failed numerically · 4 a file could not be
written · 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from typing import NoReturn

import hpcdistill
from hpcdistill.errors import EXIT_INPUT, HpcDistillError

COMMANDS = ("run", "evaluate", "inspect", "export", "prepare", "doctor")
#: Where launchers say which rank a process is, known before MPI starts.
_RANK_VARIABLES = ("OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID")


class _Parser(argparse.ArgumentParser):
    """An ArgumentParser that under a launcher complains once, not once a rank."""

    def error(self, message: str) -> NoReturn:
        if next((os.environ[v] for v in _RANK_VARIABLES if v in os.environ), "0") == "0":
            super().error(message)
        sys.exit(EXIT_INPUT)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all sub-commands."""
    parser = _Parser(
        prog="hpcdistill",
        description="Dataset distillation with infinitely wide networks: KIP and Label Solve on MPI ranks.",
        epilog="`hpcdistill COMMAND --help` explains each. Start with: hpcdistill doctor",
    )
    parser.add_argument("--version", action="version", version=f"hpcdistill {hpcdistill.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"hpcdistill.commands.{name}")
        command = commands.add_parser(name, help=module.HELP)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    args = build_parser().parse_args(arguments)
    try:
        return args.main(args)
    except HpcDistillError as error:
        print(f"hpcdistill: error: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
