"""Progress on a terminal, in a file, and on other ranks."""

import os
import pty
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import hpcdistill.progress as progress
from hpcdistill.progress import Reporter

PROGRAM = """
import time
from hpcdistill.progress import Reporter
with Reporter(True) as reporter:
    for i in range(1, 4):
        reporter.advance("step", i, 3, f"loss {i}")
        time.sleep(0.15)
    reporter.say("done")
"""


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test sets: `clock.now`."""
    moment = SimpleNamespace(now=0.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: moment.now)
    return moment


def test_plain_lines_are_rare_and_whole(capsys, clock):
    with Reporter(True) as reporter:
        for i in range(7):
            clock.now = 2.0 * i
            reporter.advance("step", i, 6, "loss 0.5")
        reporter.say("done")
    assert capsys.readouterr().out.splitlines() == [
        "[   6.0 s] step 3/6  50%  loss 0.5  6 s left",
        "[  12.0 s] step 6/6  100%  loss 0.5",
        "done",
    ]


def test_one_whole_of_steps_and_what_is_within(capsys, clock):
    """A resumed run judges by what it has done itself; an evaluation in between is no part of the whole."""
    with Reporter(True) as reporter:
        reporter.advance("targets", 500, 1000, unit=400)
        clock.now = 10.0
        reporter.within(100, 400)
        clock.now = 30.0
        reporter.within(400, 400)
        reporter.advance("targets", 900, 1000, unit=100)
        clock.now = 40.0
        reporter.rows("test images", 0, 50)
        clock.now = 50.0
        reporter.rows("test images", 10, 50)
    assert capsys.readouterr().out.splitlines() == [
        "[  10.0 s] targets 600/1000  60.0%  40 s left",
        "[  30.0 s] targets 900/1000  90.0%  7 s left",
        "[  40.0 s] targets 900/1000  90.0%  10 s left · test images 0/50  0%",
        "[  50.0 s] targets 900/1000  90.0%  12 s left · test images 10/50  20%  40 s left",
    ]


def test_no_time_left_before_the_clock_has_run(capsys, clock):
    """An evaluation that goes on where it was left tells a time by what has been done since."""
    with Reporter(True) as reporter:
        for now, done in ((10.0, 400), (20.0, 500), (30.0, 700)):
            clock.now = now
            reporter.rows("test images", done, 1000)
    assert capsys.readouterr().out.splitlines() == [
        "[  10.0 s] test images 400/1000  40.0%",
        "[  20.0 s] test images 500/1000  50.0%  50 s left",
        "[  30.0 s] test images 700/1000  70.0%  20 s left",
    ]


def test_lines_become_rarer_over_hours(capsys, clock):
    with Reporter(True) as reporter:
        for i in range(3601):
            clock.now = float(i)
            reporter.advance("step", i, 100_000)
    lines = capsys.readouterr().out.splitlines()
    times = [float(line[1:].split()[0]) for line in lines]
    assert times[:20] == [5.0 * k for k in range(1, 21)]
    assert 60 < len(lines) < 140
    assert np.diff(times).max() == 60
    assert lines[-1].endswith("26:47 h left")


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.6, "1:00 min"), (125, "2:05 min"), (3720, "1:02 h"),
                                               (172_799, "47:59 h"), (200_000, "2 d 07 h")])  # fmt: skip
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_other_ranks_are_silent(capsys):
    with Reporter(False) as reporter:
        reporter.say("x")
        reporter.advance("step", 1, 1)
        reporter.rows("rows", 1, 1)
    assert capsys.readouterr().out == ""


def test_a_terminal_shows_a_bar():
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdout=follower, env=os.environ | {"TERM": "xterm"}
    ) as child:
        os.close(follower)
        shown = b""
        while True:
            try:
                part = os.read(leader, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
    os.close(leader)
    assert child.returncode == 0
    assert b"3/3" in shown
    assert b"\x1b[" in shown
    assert b"done" in shown


def test_a_file_under_mpirun_keeps_what_it_held(tmp_path):
    """mpirun hands its ranks a pseudo-terminal although its own output is a file."""
    log = tmp_path / "log"
    with log.open("a") as file:
        file.write("before\n")
        file.flush()
        subprocess.run(["mpiexec", "-n", "1", sys.executable, "-c", PROGRAM], stdout=file, check=True)
    text = log.read_text()
    assert text.startswith("before\n")
    assert "done" in text
    assert "\x1b" not in text
