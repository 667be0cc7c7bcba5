"""Jobs as a table."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from hpcdistill.cluster.progress import RunProgress
from hpcdistill.cluster.registry import Job
from hpcdistill.cluster.states import JobState
from hpcdistill.progress import on_terminal

_WIDEST = 1000


@dataclass(frozen=True)
class JobRow:
    """What is shown of a job."""

    job: Job
    state: JobState
    progress: RunProgress


def table_console() -> Console:
    """Return where tables are printed: as wide as the terminal, and as wide as they are in files and pipes."""
    live = on_terminal()  # mpirun gives rank 0 a terminal of its own, whoever reads it
    return Console(highlight=False, soft_wrap=True, force_terminal=live, width=None if live else _WIDEST)


def jobs_table(rows: list[JobRow]) -> Table:
    """Return a table with a column for each key that a sweep has set."""
    keys = list(dict.fromkeys(key for row in rows for key in row.job.values))
    table = Table(box=None)
    for name in ("id", *keys, "state"):
        table.add_column(name, no_wrap=True)
    for name in ("step", "loss", "accuracy", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("output", overflow="fold")
    for row in rows:
        values = (row.job.values.get(key, "") for key in keys)
        p = row.progress
        cells = (row.job.job_id, *values, str(row.state), p.step, p.loss, p.accuracy, p.seconds, row.job.output)
        table.add_row(*(cell.replace("[", r"\[") for cell in cells))
    return table
