"""`hpcdistill inspect`: what is in a checkpoint; several side by side. Needs no MPI."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hpcdistill.commands.arguments import add_distilled, checkpoints_of

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from hpcdistill.io.checkpoint import Checkpoint
    from hpcdistill.method import Sweep

HELP = "show what is in a checkpoint; compare several"
_HISTORY_ROWS = 12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.description = (
        "One FILE: its origin, arrays, configuration and history. Several: a table with a row for each. Of a kernel "
        "file: how many tiles are there; their checksums are not verified, which `hpcdistill kernel` does."
    )
    add_distilled(parser, several=True)


def main(args: argparse.Namespace) -> int:
    """Print the content of one file, or a comparison of several."""
    from hpcdistill.errors import KernelGivenError
    from hpcdistill.io.checkpoint import read_checkpoint
    from hpcdistill.launcher import is_first_rank

    paths = checkpoints_of(args.files, args.settings)
    if not is_first_rank():
        return 0
    try:
        checkpoints = [(file, read_checkpoint(path)) for file, path in zip(args.files, paths, strict=True)]
    except KernelGivenError:
        if len(args.files) > 1:
            raise
        _describe_kernel(args.files[0])
        return 0
    if len(checkpoints) == 1:
        _describe(*checkpoints[0])
    else:
        _compare(checkpoints)
    return 0


def _describe_kernel(path: Path) -> None:
    from hpcdistill.cluster.table import table_console
    from hpcdistill.io.kernel_file import KernelFile

    console, file = table_console(), KernelFile.open(path)
    total, missing = len(file.tiles()), len(file.missing())
    state = "complete" if not missing else f"{total - missing} of {total} tiles ({1 - missing / total:.1%}) are there"
    console.print(str(path), style="bold", markup=False)
    kinds = "symmetric, " * file.is_symmetric + "compressed, " * file.is_compressed
    console.print(f"  {'kernel':<20} {file.shape[0]} × {file.shape[1]} of {file.dtype}, {kinds}{state}", markup=False)
    for name in ("dataset", "rows", "architecture", "network", "backend", "hpcdistill_version", "git_commit"):
        if name in file.attributes:
            console.print(f"  {name:<20} {file.attributes[name]}", markup=False)
    if file.arrays:
        console.print("arrays", style="bold")
    for name, array in sorted(file.arrays.items()):
        console.print(f"  /{name:<30} {array.dtype!s:<8} {array.shape}", markup=False)
    if "config" in file.attributes:
        console.print("configuration", style="bold")
        console.print("\n".join("  " + line for line in _of_kernel(file.attributes["config"])), markup=False)


def _of_kernel(configuration: str) -> list[str]:
    """Return the lines of a configuration that say what a kernel is of: the seed, and some sections."""
    lines, section = [], ""
    for line in filter(None, configuration.splitlines()):
        if line.startswith("["):
            section = line.strip("[]")
        if section in ("data", "preprocess", "kernel") or line.startswith("seed"):
            lines.append(line)
    return lines


def _describe(path: Path, checkpoint: Checkpoint) -> None:
    from hpcdistill.cluster.table import table_console
    from hpcdistill.io.exchanged import Exchanged
    from hpcdistill.method import described

    console = table_console()
    arrays = checkpoint.arrays
    console.print(f"{path} -> {path.resolve().name}" if path.is_symlink() else str(path), style="bold", markup=False)
    for name in ("method", "dataset", "architecture", "step", "hpcdistill_version", "git_commit"):
        console.print(f"  {name:<20} {checkpoint.attribute(name)}", markup=False)
    exchanged = Exchanged.stored(checkpoint)
    if exchanged and exchanged.summary:
        console.print(f"  {'exchanged':<20} {exchanged.summary}", markup=False)
    console.print("arrays", style="bold")
    for name in sorted(arrays):
        console.print(f"  /{name:<30} {arrays[name].dtype!s:<8} {arrays[name].shape}", markup=False)
    console.print("configuration", style="bold")
    console.print("\n".join("  " + line for line in checkpoint.attribute("config").splitlines() if line), markup=False)
    console.print("history", style="bold")
    console.print(_history_table(checkpoint.history()))
    if sweep := described(checkpoint.attribute("method")).sweep(arrays):
        console.print(_sweep_table(sweep))


def _sweep_table(sweep: Sweep) -> Table:
    from rich.table import Table

    table = Table(box=None)
    for name in (sweep.setting, *sweep.figures):
        table.add_column(name, justify="right")
    for i in range(len(sweep.values)):
        table.add_row(*sweep.cells(i))
    return table


def _history_table(history: dict[str, np.ndarray]) -> Table:
    import numpy as np
    from rich.table import Table

    from hpcdistill.learning.history import COLUMNS

    steps = history["step"]
    evaluated = np.isfinite(history["test_accuracy"]) | np.isfinite(history["validation_accuracy"])
    rows = np.flatnonzero(evaluated) if evaluated.any() else np.arange(len(steps))
    shown = rows if len(rows) <= _HISTORY_ROWS else rows[np.linspace(0, len(rows) - 1, _HISTORY_ROWS).astype(int)]
    table = Table(box=None)
    columns = {name: history[name] for name in COLUMNS if name in history}
    if not np.isfinite(columns.get("temperature", np.nan)).any():
        columns.pop("temperature", None)
    for name in ("step", *columns):
        table.add_column(name, justify="right")
    for i in shown:
        table.add_row(str(steps[i]), *(_figure(name, column[i]) for name, column in columns.items()))
    return table


#: How figures of the history are written, beside accuracies.
_FORMS = {"loss": ".5f", "temperature": ".2f"}


def _figure(name: str, value: float) -> str:
    if value != value:
        return "–"
    form = ".2%" if name.endswith("accuracy") else _FORMS.get(name, ".1f")
    return f"{value:{form}}"


def _compare(checkpoints: list[tuple[Path, Checkpoint]]) -> None:
    from rich.markup import escape
    from rich.table import Table

    from hpcdistill.cluster.table import table_console
    from hpcdistill.io.told_apart import settings_apart

    found = {
        name: [checkpoint.attribute(name) for _, checkpoint in checkpoints] for name in ("dataset", "architecture")
    }
    common = [name for name, values in found.items() if len(set(values)) == 1]
    columns = [name for name in found if name not in common]
    rows = [_comparison_row(checkpoint, columns) for _, checkpoint in checkpoints]
    apart = settings_apart([row[:-2] for row in rows],
                           [checkpoint.attribute("config") for _, checkpoint in checkpoints])  # fmt: skip
    table = Table("support", "images", *columns, "steps", *apart, "test accuracy", "seconds", box=None)
    table.add_column("file", overflow="fold")
    for i, (path, row) in enumerate(zip((path for path, _ in checkpoints), rows, strict=True)):
        settings = (values[i] for values in apart.values())
        table.add_row(*(escape(cell) for cell in (*row[:-2], *settings, *row[-2:], str(path))))
    console = table_console()
    console.print("\n".join(f" {name}: {found[name][0]}" for name in common), markup=False)
    console.print(table)


def _comparison_row(checkpoint: Checkpoint, columns: list[str]) -> tuple[str, ...]:
    import numpy as np

    from hpcdistill.method import described

    array, history, method = checkpoint.array, checkpoint.history(), described(checkpoint.attribute("method"))
    measured = np.isfinite(history["test_accuracy"])
    accuracy, step = history["test_accuracy"][measured], history["step"][measured]
    shown, name = f"{accuracy[-1]:.2%}" if len(accuracy) else "–", method.title
    if method.learns_images and len(step) and step[-1] != checkpoint.attribute("step"):
        shown += f" at step {step[-1]}"
    if method.is_sample and len(accuracy) > 1:
        name = f"{name}, mean of {len(accuracy)} draws"
        shown = f"{accuracy.mean():.2%} ± {accuracy.std(ddof=1):.2%}"
    steps = str(checkpoint.attribute("step")) if method.learns_images else ""
    seconds = f"{np.nanmax(history['seconds'], initial=0.0):.1f}"
    return name, str(len(array("support/images"))), *(checkpoint.attribute(c) for c in columns), steps, shown, seconds
