"""What a run says while it works: a live bar on a terminal, plain lines elsewhere, nothing on ranks but the first."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

#: Seconds between plain lines about one and the same activity.
_LINE_INTERVAL_SECONDS = 5.0
#: The same for progress within a step, which is told only where steps are long.
_ROWS_INTERVAL_SECONDS = 15.0


def on_terminal() -> bool:
    """Return whether a person's terminal shows our output.

    Open MPI's mpirun gives rank 0 a pseudo-terminal of its own whatever happens to its output; then what mpirun itself
    writes to decides. So does `srun --unbuffered`, which submitit uses; a person is there only with `srun --pty`.
    """
    if not sys.stdout.isatty() or ("SLURM_STEP_ID" in os.environ and "SLURM_PTY_PORT" not in os.environ):
        return False
    if "OMPI_COMM_WORLD_RANK" not in os.environ:
        return True
    try:
        return os.readlink(f"/proc/{os.getppid()}/fd/1").startswith(("/dev/pts/", "/dev/tty"))
    except OSError:
        return False


class Reporter:
    """Progress of one activity at a time.

    Args:
        active: whether this process speaks at all (rank 0).
    """

    def __init__(self, active: bool) -> None:
        self._active, self._live = active, active and on_terminal()
        self._console = Console(highlight=False, soft_wrap=True, quiet=not active, force_terminal=self._live)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=10),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self._console,
            transient=True,
            disable=not self._live,
        )
        self._task: TaskID | None = None
        self._title = ""
        self._last_line = self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line."""
        if self._active:
            self._console.print(text, markup=False)
            sys.stdout.flush()

    def advance(self, title: str, done: int, total: int, figures: str = "") -> None:
        """Show that `done` of `total` is done.

        Args:
            title: the activity; a new one starts a new bar.
            figures: figures worth showing beside it.
        """
        if self._live:
            self._show_bar(title, done, total, figures)
        else:
            self._line(_LINE_INTERVAL_SECONDS, f"{title} {done}/{total} {figures}")

    def rows(self, title: str, done: int, total: int) -> None:
        """Show progress inside a step: on a terminal the step's own bar stays, elsewhere a line now and then."""
        if not self._live:
            self._line(_ROWS_INTERVAL_SECONDS, f"  {title} {done}/{total}")

    def _line(self, interval_seconds: float, text: str) -> None:
        now = time.monotonic()
        if self._active and now - self._last_line >= interval_seconds:
            self._last_line = now
            self.say(f"[{now - self._started:6.1f} s] {text}".rstrip())

    def _show_bar(self, title: str, done: int, total: int, figures: str) -> None:
        if self._task is None or self._title != title:
            if self._task is not None:
                self._progress.remove_task(self._task)
            self._task, self._title = self._progress.add_task(title, total=total, figures=figures), title
        self._progress.update(self._task, completed=done, total=total, figures=figures)
