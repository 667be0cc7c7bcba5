"""The parser of commands, and arguments that several of them take: each says what it wants. Needs no MPI."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from hpcdistill.errors import EXIT_INPUT
from hpcdistill.launcher import is_first_rank


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line, and one for all ranks of a launcher.

    Attributes:
        closing: returns what stands below the help; called for `--help` alone.
    """

    closing: Callable[[], str] | None = None

    def error(self, message: str) -> NoReturn:
        """End with a line that says what is wrong."""
        if is_first_rank():
            print(f"hpcdistill: error: {message}. See `{self.prog} --help`.", file=sys.stderr)
        sys.exit(EXIT_INPUT)

    def format_help(self) -> str:
        """Return the help."""
        if self.closing is not None:
            self.epilog = self.closing()
        return super().format_help()


def add_distilled(parser: argparse.ArgumentParser, *, several: bool = False, overrides: bool = False) -> None:
    """Declare the distilled set, or several, that a command takes, and what says what a file of others cannot say.

    Args:
        overrides: whether settings also override those of a checkpoint.
    """
    name, nargs = ("files", "+") if several else ("file", None)
    parser.add_argument(name, metavar="FILE", type=named_path, nargs=nargs,
                        help="a checkpoint, such as OUTPUT/latest.h5; or the .npz, .pt or folder of pictures of a "
                        "distilled set of somebody else")  # fmt: skip
    override = "override one key of the stored configuration, such as data.root=DIR; " if overrides else ""
    parser.add_argument("--set", dest="settings", metavar="SECTION.KEY=VALUE", action="append", default=[],
                        help=f"{override}for a set of somebody else, what it cannot say: data.name=NAME, and where it "
                        "is not the default kernel.architecture=NETWORK, preprocess.zca=true, …")  # fmt: skip


def checkpoints_of(files: list[Path], settings: list[str]) -> list[Path]:
    """Return the checkpoints of distilled sets: the files themselves, or what is made of sets of others, collectively.

    Args:
        settings: for the sets of others.

    Raises:
        ConfigError: settings, and nothing but checkpoints, which have their own.
    """
    from hpcdistill.data.registry import is_foreign_set
    from hpcdistill.errors import ConfigError

    if not any(map(is_foreign_set, files)):
        if settings:
            raise ConfigError(
                f"{files[0]}: is a checkpoint, whose settings are its own. Leave out --set {settings[0]}."
            )
        return files
    from hpcdistill.mpi.runtime import world
    from hpcdistill.run.adopt import adopt

    return [adopt(world(), file, settings) for file in files]


#: Of whole numbers on the command line: far above what makes sense, and below what arrays cannot have.
_LARGEST = 10**14


def named_path(text: str) -> Path:
    """Return the name of a file or folder; an empty one, as of a variable that is not set, is none."""
    if not text:
        raise argparse.ArgumentTypeError("must be a name, and is empty")
    return Path(text)


def positive(text: str) -> int:
    """Return a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not {text!r}")
    if int(text) > _LARGEST:
        raise argparse.ArgumentTypeError(f"must be at most {_LARGEST:,}, not {text}")
    return int(text)


def positive_number(text: str) -> float:
    """Return a finite number above 0."""
    value = _number(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")
    return value


def number_from_zero(text: str) -> float:
    """Return a finite number of at least 0."""
    value = _number(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a number of at least 0, not {text!r}")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
