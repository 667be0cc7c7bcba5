"""Command line: `hpcdistill COMMAND …`, also `python -m hpcdistill`. Parse, call, exit code.

Exit codes: 0 done · 1 internal error · 2 wrong input · 3 the computation failed numerically · 4 a file could not be
written · 75 stopped by a signal, to be resumed · 130 interrupted.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys

import hpcdistill
from hpcdistill.attempt import report_ended
from hpcdistill.commands.arguments import Parser
from hpcdistill.errors import HpcDistillError
from hpcdistill.launcher import is_first_rank, share_cores

COMMANDS = (
    "run",
    "plan",
    "submit",
    "jobs",
    "cancel",
    "evaluate",
    "transfer",
    "reproduce",
    "inspect",
    "export",
    "kernel",
    "prepare",
    "doctor",
    "bench",
)
#: Those that are no programs of several ranks: where a launcher starts them, its first process acts.
_OF_ONE_PROCESS = ("submit", "jobs", "cancel", "prepare")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with all sub-commands."""
    parser = Parser(
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
        command.set_defaults(main=module.main, acts=name not in _OF_ONE_PROCESS or is_first_rank())
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return its exit code."""
    share_cores()
    try:
        args = build_parser().parse_args(arguments)
        return args.main(args) if args.acts else 0
    except HpcDistillError as error:
        if is_first_rank():
            print(f"hpcdistill: error: {error}", file=sys.stderr)
            report_ended(error.exit_code)
        return error.exit_code
    except KeyboardInterrupt:
        if is_first_rank():
            print("hpcdistill: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe has gone, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


if __name__ == "__main__":
    sys.exit(main())
