"""Waiting for submitted jobs: states, progress, and the end of the log of a job that fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from rich.live import Live

from hpcdistill.cluster.progress import read_progress, why_unreadable
from hpcdistill.cluster.registry import Job, Submission
from hpcdistill.cluster.states import JobState, exit_code, find_states
from hpcdistill.cluster.table import JobRow, jobs_table, table_console
from hpcdistill.errors import EnvironmentSetupError
from hpcdistill.progress import on_terminal

T = TypeVar("T")

#: Seconds between two looks: from the first to the second number, a fraction of the time waited in between.
_SHORTEST_SECONDS, _LONGEST_SECONDS, _FRACTION = 0.5, 15.0, 0.05
#: Seconds between two plain lines about one job's progress.
_LINE_SECONDS = 30.0
#: Seconds before a question that Slurm has not answered is asked again.
_PAUSES_SECONDS = (5, 15, 60, 300)
_LOG_LINES, _MOST_LOG_LINES = 20, 100
_ERRORS = ("hpcdistill: error:", "hpcdistill: internal error")


def wait_for(submission: Submission) -> int:
    """Show the jobs until all are over, then a table of results; return the worst exit code.

    Raises:
        EnvironmentSetupError: Slurm does not answer.
    """
    started = time.monotonic()
    before: dict[str, JobState] = {}
    told: set[str] = set()
    with _Display() as display:
        if why := why_unreadable():
            display.say(why)
        while True:
            rows = _look(submission, display)
            display.show(rows)
            # A state that a job has only between its end and its return to the queue does not count.
            over = [r for r in rows if r.state.finished and (r.state.succeeded or before.get(r.job.job_id) == r.state)]
            for row in over:
                if not row.state.succeeded and row.job.job_id not in told:
                    told.add(row.job.job_id)
                    display.say(_failure(submission, row.job, row.state))
            if len(over) == len(rows):
                break
            before = {row.job.job_id: row.state for row in rows}
            time.sleep(min(_LONGEST_SECONDS, max(_SHORTEST_SECONDS, _FRACTION * (time.monotonic() - started))))
    display.end(rows)
    return max(exit_code(submission, row.job, row.state) for row in rows)


def _look(submission: Submission, display: _Display) -> list[JobRow]:
    states = _patiently(lambda: find_states([submission]), display)
    return [
        JobRow(job, states[submission.folder, job.job_id], read_progress(Path(job.output))) for job in submission.jobs
    ]


def _patiently(ask: Callable[[], T], display: _Display) -> T:
    """Return what Slurm answers, also where it needs several questions, as while its controller is restarted."""
    for pause in _PAUSES_SECONDS:
        try:
            return ask()
        except EnvironmentSetupError as error:
            display.say(f"{error}; asking again in {pause} s")
            time.sleep(pause)
    return ask()


def _failure(submission: Submission, job: Job, state: JobState) -> str:
    """Return the end of a failed job's log."""
    path = submission.log(job)
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        return f"job {job.job_id}: {state}; it has left no log ({path})"
    # From the last error that is told, where there is one: a traceback may be longer than the end of a log.
    told = max((i for i, text in enumerate(lines) if text.startswith(_ERRORS)), default=len(lines))
    start = max(min(told, len(lines) - _LOG_LINES), len(lines) - _MOST_LOG_LINES, 0)
    return "\n".join([f"job {job.job_id}: {state}; the end of {path}:", *("  " + text for text in lines[start:])])


class _Display:
    """A table that is kept up to date on a terminal; plain lines elsewhere."""

    def __init__(self) -> None:
        self._console = table_console()
        self._live = Live(console=self._console, transient=True) if on_terminal() else None
        self._lines: dict[str, tuple[str, str, float]] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, text: str) -> None:
        """Print lines."""
        self._console.print(text, markup=False)

    def show(self, rows: list[JobRow]) -> None:
        """Show where the jobs are."""
        if self._live:
            self._live.update(jobs_table(rows), refresh=True)
            return
        for row in rows:
            self._show_line(row)

    def _show_line(self, row: JobRow) -> None:
        now, state = time.monotonic(), str(row.state)
        figures = f"step {row.progress.step}  loss {row.progress.loss}  accuracy {row.progress.accuracy}"
        old_state, old_figures, since = self._lines.get(row.job.job_id, ("", "", 0.0))
        if state == old_state and (figures == old_figures or now - since < _LINE_SECONDS):
            return
        self._lines[row.job.job_id] = (state, figures, now)
        point = "".join(f" {key}={value}" for key, value in row.job.values.items())
        known = f"  {figures}" if row.progress.step != "–" else ""
        self.say(f"job {row.job.job_id}{point}: {state}{known}")

    def end(self, rows: list[JobRow]) -> None:
        """Print the results."""
        self._console.print(jobs_table(rows))
