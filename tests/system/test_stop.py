"""A run that is asked to stop saves what it has computed, says so by its exit code, and goes on where it was."""

import os
import signal
import subprocess
import sys

import pytest
from kill_loop import Job, differences
from launch import (
    SLOW_STEPS,
    TIMEOUT_SECONDS,
    command_line,
    end_session,
    finish,
    rank_processes,
    run,
    start,
    wait_until,
    write_config,
)
from own_files import read_own

#: The command line, where an evaluation's first note of its progress asks all ranks' first to stop.
STOP_IN_EVALUATION = """
import os, signal, sys
from hpcdistill.io.run_notes import RunNotes
write = RunNotes.write_tally
def stopping(self, *counted):
    write(self, *counted)
    os.kill(os.getpid(), signal.SIGUSR2)
RunNotes.write_tally = stopping
from hpcdistill.__main__ import main
sys.exit(main())
"""
#: The command line, where a rank that has saved a checkpoint is asked to stop.
STOP_AFTER_SAVING = """
import os, signal, sys
from hpcdistill.run.recorder import Recorder
save = Recorder.save
def stopping(self, *arguments, **extra):
    save(self, *arguments, **extra)
    os.kill(os.getpid(), signal.SIGUSR2)
Recorder.save = stopping
from hpcdistill.__main__ import main
sys.exit(main())
"""
STEPS = 60


def stopped_run(job, number, to_rank=None):
    """Start a run, send a signal to one rank (or to the launcher, which passes it on), and return its Result."""
    command = [*command_line(job.ranks, SLOW_STEPS), *job.arguments]
    process = start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        pids = rank_processes(process, job.ranks) if job.ranks else [process.pid]
        wait_until((job.output / "latest.h5").exists, "a checkpoint", process)
        os.kill(process.pid if to_rank is None else pids[to_rank], number)
        _, stderr = finish(process)
    finally:
        end_session(process)
    return process.returncode, stderr


@pytest.mark.parametrize(
    ("ranks", "number", "to_rank"),
    [(0, signal.SIGUSR2, None), (0, signal.SIGTERM, None), (2, signal.SIGUSR2, None), (3, signal.SIGTERM, 2)],
)
def test_kip_stops_and_goes_on(tmp_path, ranks, number, to_rank):
    config = write_config(tmp_path / "c.toml", kip={"steps": STEPS, "evaluate_every": 20}, checkpoint={"every": 1000})
    undisturbed, stopped = Job(config, tmp_path / "undisturbed", ranks), Job(config, tmp_path / "stopped", ranks)
    undisturbed.finish()
    code, stderr = stopped_run(stopped, number, to_rank)
    assert code == 75
    told = [line for line in stderr.splitlines() if line.startswith("hpcdistill:")]
    assert told == [f"hpcdistill: stopped by {number.name}; what was computed is saved. Continue with --resume."]
    assert read_own(stopped.output / "latest.h5").attributes["step"] < STEPS
    assert "no finished step is lost" in stopped.finish(resume=True).stdout
    assert differences(stopped, undisturbed) == []


@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.parametrize("method", ["kip", "label_solve", "krr"])
def test_evaluation_stops_and_goes_on(tmp_path, method, ranks):
    """400 support images: an evaluation can be left after 81 rows per rank, of 500."""
    network = {"architecture": "conv relu flatten dense"}  # fully connected ones take all at once
    config = write_config(tmp_path / "c.toml", method=method, support={"images_per_class": 40}, krr={"draws": 2},
                          kernel=network, kip={"steps": 2, "evaluate_every": 2, "batch": 400})  # fmt: skip
    undisturbed, stopped = Job(config, tmp_path / "undisturbed", ranks), Job(config, tmp_path / "stopped", ranks)
    undisturbed.finish()
    program = (sys.executable, "-c", STOP_IN_EVALUATION)
    result = run(*stopped.arguments, ranks=ranks, program=program)
    assert result.code == 75, result.stderr
    counted, note = 81 * max(1, ranks), stopped.output / "evaluation.json"
    assert note.exists()
    text = stopped.finish(resume=True).stdout
    assert f"evaluation goes on after {counted} of 500 test images" in text
    assert not note.exists()
    assert differences(stopped, undisturbed) == []


def test_label_solve_may_change_its_chunks_on_the_way(tmp_path):
    """As a warning that a chunk takes too long asks for."""
    config = write_config(tmp_path / "c.toml", method="label_solve", label_solve={"chunk": 500},
                          kernel={"precision": "float64"})  # fmt: skip
    stopped = Job(config, tmp_path / "out", 0)
    assert run(*stopped.arguments, program=(sys.executable, "-c", STOP_AFTER_SAVING)).code == 75
    result = run(*stopped.arguments, "--resume", "--set=label_solve.chunk=100")
    assert result.code == 0, result.stderr
    solved = read_own(tmp_path / "out/latest.h5").arrays
    assert solved["label_solve/absorbed"].tolist() == [1297]
    whole = Job(config, tmp_path / "whole", 0)
    whole.finish()
    wanted = read_own(tmp_path / "whole/latest.h5").arrays["support/labels"]
    assert abs(solved["support/labels"] - wanted).max() < 1e-8 * abs(wanted).max()


def test_two_runs_in_one_folder(tmp_path):
    """The one that starts later goes on; the other ends, with a word of why, before it writes again."""
    config = write_config(tmp_path / "c.toml", kip={"steps": 100000, "evaluate_every": 100000})
    first, second = Job(config, tmp_path / "out"), Job(config, tmp_path / "out", 0)
    process = start([*command_line(2), *first.arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    other = None
    try:
        wait_until((tmp_path / "out/latest.h5").exists, "a checkpoint", process)
        other = start([*command_line(0), *second.arguments, "--resume"], stdout=subprocess.DEVNULL)
        _, stderr = finish(process)
        assert process.returncode == 2
        (line,) = [text for text in stderr.splitlines() if text.startswith("hpcdistill:")]
        assert "another run has taken over this folder" in line
        assert other.poll() is None
        other.send_signal(signal.SIGUSR2)
        assert other.wait(TIMEOUT_SECONDS) == 75
    finally:
        for started in (process, other):
            if started is not None:
                end_session(started)
    assert list((tmp_path / "out").rglob("*.tmp")) == []
