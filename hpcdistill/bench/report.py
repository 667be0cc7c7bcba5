"""What a measurement leaves behind: a JSON file, written whole or not at all, and a table."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from hpcdistill.errors import EnvironmentSetupError, StorageError
from hpcdistill.progress import on_terminal
from hpcdistill.whole_file import temporary_name, whole_file

#: Width of tables that go to a file or a pipe.
_FILE_COLUMNS = 160


def check_writable(path: Path | None) -> None:
    """Raise `EnvironmentSetupError` unless a file of this name can be written. `None` is no file. Not collective."""
    if path is None:
        return
    problem = "it is a folder" if path.is_dir() else None
    try:
        probe = temporary_name(path)
        probe.touch()
        probe.unlink()
    except OSError as error:
        problem = error.strerror
    if problem:
        raise EnvironmentSetupError(f"{path}: cannot be written ({problem}). Give another file with --json.")


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write `content`; a file that was there before is replaced in one step. Not collective.

    Raises:
        StorageError: no space or an I/O error; what was there before is intact.
    """
    text = json.dumps(content, indent=1, ensure_ascii=False) + "\n"
    try:
        with whole_file(path) as file:
            file.write(text.encode())
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror}). Give another file with --json.") from error


def print_table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> None:
    """Print a table on standard output, plain and not cut off where that is no terminal. Not collective."""
    table = Table(box=None)
    for i, heading in enumerate(headings):
        table.add_column(heading, justify="left" if i == 0 else "right")
    for row in rows:
        table.add_row(*row)
    live = on_terminal()
    Console(highlight=False, soft_wrap=True, force_terminal=live, width=None if live else _FILE_COLUMNS).print(table)


def figure(value: float | None, suffix: str = "") -> str:
    """Return a number with three significant digits, or a dash for None."""
    if value is None:
        return "–"
    return (f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}") + suffix
