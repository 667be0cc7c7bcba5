"""What a run says while it works: a live bar on a terminal, plain lines elsewhere, nothing on ranks but the first."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

#: Seconds between plain lines: at first, and at most; in between a twentieth of the time that has passed.
_FIRST_INTERVAL_SECONDS, _LAST_INTERVAL_SECONDS = 5.0, 60.0


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


@dataclass
class Activity:
    """Something that is done bit by bit.

    Attributes:
        title: what.
        total: units in all, 0 where that is not known.
        done: units done.
        figures: worth showing beside it.
        unit: units of what comes next, whose parts `within` tells of.
        part: how much of these is done.
    """

    title: str
    total: int
    done: int = 0
    figures: str = ""
    unit: int = 1
    part: float = 0.0

    def __post_init__(self) -> None:
        self.started, self._share_before = time.monotonic(), self.share

    @property
    def share(self) -> float:
        """How much of it is done, from 0 to 1; 0 where that is not known."""
        return min(1.0, (self.done + self.unit * self.part) / self.total) if self.total else 0.0

    @property
    def left(self) -> str:
        """How long it will take from here, judging by what has been done since this process began; "" if unknown."""
        gained = self.share - self._share_before
        if gained <= 0 or self.share >= 1:
            return ""
        return f"{duration((time.monotonic() - self.started) * (1 - self.share) / gained)} left"

    @property
    def text(self) -> str:
        """All of it on a line."""
        title = f"{self.title} {int(self.done + self.unit * self.part)}"
        if not self.total:
            return "  ".join(filter(None, [title, self.figures]))
        share = f"{self.share:.1%}" if self.total >= 100 else f"{self.share:.0%}"
        return "  ".join(filter(None, [f"{title}/{self.total}", share, self.figures, self.left]))


def duration(seconds: float) -> str:
    """Return a time as people say it: "43 s", "12:05 min", "1:02 h", "3 d 04 h"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02} min"
    if whole < 48 * 3600:
        return f"{whole // 3600}:{whole // 60 % 60:02} h"
    return f"{whole // 86400} d {whole // 3600 % 24:02} h"


class Reporter:
    """Progress of one activity at a time, and of others inside it.

    Args:
        active: whether this process speaks at all (rank 0).
    """

    def __init__(self, active: bool) -> None:
        self._active, self._live = active, active and on_terminal()
        self._console = Console(highlight=False, soft_wrap=True, quiet=not active, force_terminal=self._live)
        self._progress = Progress(
            BarColumn(bar_width=10), TextColumn("{task.description}"), console=self._console, transient=True,
            disable=not self._live,
        )  # fmt: skip
        self._activity: Activity | None = None
        self._inner: Activity | None = None
        self._bars: dict[int, TaskID] = {}
        self._last_line = self._started = time.monotonic()

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    @property
    def elapsed(self) -> float:
        """Seconds since the program began to report."""
        return time.monotonic() - self._started

    def say(self, text: str) -> None:
        """Print a line."""
        if self._active:
            self._console.print(text, markup=False)
            sys.stdout.flush()

    def advance(self, title: str, done: int, total: int, figures: str = "", unit: int = 1) -> None:
        """Show that `done` of `total` is done; call it before the first of them, too, which is when the clock starts.

        Args:
            title: the activity; a new one takes the place of the one before.
            figures: figures worth showing beside it.
            unit: how many come next, of which `within` will tell.
        """
        if self._activity is None or self._activity.title != title or self._activity.total != total:
            self._activity = Activity(title, total, done)
        activity = self._activity
        activity.done, activity.figures, activity.unit, activity.part = done, figures, unit, 0.0
        self._show(activity, 0)

    def within(self, done: int, total: int) -> None:
        """Show how much of what the last `advance` has announced is done."""
        if self._activity is not None:
            self._activity.part = done / total if total else 1.0
            self._show(self._activity, 0)

    def rows(self, title: str, done: int, total: int) -> None:
        """Show progress of something else in between, such as an evaluation, which is no part of the whole.

        Call it before the first of them, too, which is when the clock starts.
        """
        if self._inner is None or self._inner.title != title or done <= self._inner.done:
            self._inner = Activity(title, total, done)
        self._inner.done = done
        self._show(self._inner, 1)
        if done >= total:
            self._inner = None
            if self._live and 1 in self._bars:
                self._progress.remove_task(self._bars.pop(1))

    def _show(self, activity: Activity, level: int) -> None:
        if self._live:
            if level not in self._bars:
                self._bars[level] = self._progress.add_task("", total=1.0)
            self._progress.update(self._bars[level], completed=activity.share, description=activity.text)
            return
        now = time.monotonic()
        interval = min(_LAST_INTERVAL_SECONDS, max(_FIRST_INTERVAL_SECONDS, (now - self._started) / 20))
        if self._active and now - self._last_line >= interval:
            self._last_line = now
            texts = [self._activity.text] if level and self._activity else []
            self.say(f"[{now - self._started:6.1f} s] {' · '.join([*texts, activity.text])}".rstrip())
