"""Progress on a terminal, in a file, and on other ranks."""

import os
import pty
import subprocess
import sys

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


def test_plain_lines_are_rare_and_whole(capsys, monkeypatch):
    clock = iter(float(t) for t in range(0, 100, 2))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with Reporter(True) as reporter:
        for i in range(1, 7):
            reporter.advance("step", i, 6, "loss 0.5")
        reporter.say("done")
    assert capsys.readouterr().out.splitlines() == [
        "[   6.0 s] step 3/6 loss 0.5",
        "[  12.0 s] step 6/6 loss 0.5",
        "done",
    ]


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
