"""`hpcdistill submit` on this machine: mpirun under submitit's local executor."""

import os
import re
import signal
import sys
import time

import pytest
import tomli_w
from launch import run, wait_until, write_config
from own_files import read_own

from hpcdistill.attempt import read_attempts


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a profile of two ranks, and a memory of its own of what was submitted."""
    monkeypatch.setenv("HPCDISTILL_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("PYTHONUNBUFFERED", "1")
    profile = {
        "executor": "local",
        "resources": {"tasks_per_node": 2, "array_parallelism": 1},
        "environment": {"setup": ["echo made in the set-up"], "variables": {"X": "$HOME"}},
        "restart": {"max_restarts": 1},
    }
    (tmp_path / "p.toml").write_text(tomli_w.dumps(profile))
    yield tmp_path
    run("cancel", *(job for job, _ in listed()))
    wait_for_states(lambda states: not {"RUNNING", "PENDING"} & set(states))


def submit(place, *arguments, **sections):
    config = write_config(place / "c.toml", **sections)
    return run("submit", config, "--profile", place / "p.toml", "--output", place / "out", *arguments, cwd=place)


def listed():
    """(id, state) of all jobs."""
    rows = [line.split() for line in run("jobs").stdout.splitlines()]
    return [(row[0], next(cell for cell in row if cell.isupper()).strip(",")) for row in rows if row[0].isdigit()]


def wait_for_states(wanted):
    """Wait until the states of all jobs are what is wanted."""
    wait_until(lambda: wanted([state for _, state in listed()]), lambda: f"states; now {listed()}", every=0.5)


def test_submit_and_wait(place):
    result = submit(place, "--wait")
    assert result.code == 0, result.stdout + result.stderr
    row = result.stdout.splitlines()[-1].split()
    assert row[1:3] == ["COMPLETED", "4/4"]
    log = (place / f"out/slurm/{row[0]}_0_log.out").read_text()
    assert "made in the set-up" in log
    assert "ranks 2" in log
    assert listed() == [(row[0], "COMPLETED")]
    assert read_own(place / "out/latest.h5").attributes["step"] == 4


def test_points_of_a_sweep_take_turns(place):
    assert submit(place, "--sweep", "seed=0,1,2", kip={"steps": 5}).code == 0
    states = ["PENDING"]
    while set(states) & {"PENDING", "RUNNING"}:
        time.sleep(0.5)
        states = [state for _, state in listed()]
        assert states.count("RUNNING") <= 1
    assert states == ["COMPLETED"] * 3
    assert {path.parent.name for path in place.glob("out/*/latest.h5")} == {"seed=0", "seed=1", "seed=2"}


def test_error_of_a_run(place):
    result = submit(place, "--wait", support={"images_per_class": 1000}, kip={"batch": 20000})
    assert result.code == 2
    assert "hpcdistill: error: support.images_per_class=1000" in result.stdout
    assert "FAILED" in result.stdout.splitlines()[-1]


def rank_processes():
    """Process ids of ranks by number, of the only job there is."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                environ = open(f"/proc/{name}/environ", "rb").read()  # noqa: SIM115
                command = open(f"/proc/{name}/cmdline", "rb").read()  # noqa: SIM115
            except OSError:
                continue
            rank = re.search(rb"\0OMPI_COMM_WORLD_RANK=(\d+)\0", environ)
            if (
                rank
                and b"\0hpcdistill\0run\0" in command
                and f"={os.environ['HPCDISTILL_STATE']}\0".encode() in environ
            ):
                found[int(rank[1])] = int(name)
    return found


def test_killed_rank_is_started_again_and_not_for_ever(place):
    assert submit(place, kip={"steps": 100000, "evaluate_every": 100000}).code == 0
    ((job, _),) = listed()
    log_path = place / f"out/slurm/{job}_0_log.out"
    for attempt in (1, 2):
        wait_until(lambda: log_path.read_text().count("kip on digits") == attempt)  # noqa: B023
        wait_until(lambda: (place / "out/latest.h5").exists())
        os.kill(wait_until(rank_processes)[0], signal.SIGKILL)
    wait_for_states(lambda states: states == ["FAILED"])
    assert read_attempts(place / "out/slurm", job) == ["killed", "killed"]
    log = log_path.read_text()
    assert "restart 1 of 1" in log
    assert "no restart is left" in log
    assert "attempt 2 of this job" in log
    assert "resuming from" in log


def test_cancel_lets_it_save(place):
    assert submit(place, kip={"steps": 100000, "evaluate_every": 100000}, checkpoint={"every": 50000}).code == 0
    ((job, _),) = listed()
    wait_until(lambda: (place / "out/reached.json").exists())
    assert run("cancel", job).stdout == f"job {job}: cancelled\n"
    wait_for_states(lambda states: states == ["CANCELLED"])
    assert read_attempts(place / "out/slurm", job) == ["cancelled"]
    assert "stopped by SIGUSR2; what was computed is saved" in (place / f"out/slurm/{job}_0_log.out").read_text()
    assert run("cancel", job).stdout == f"job {job}: CANCELLED already\n"


def test_jobs_outlive_who_submitted_them(place):
    """Ctrl-C ends the waiting, not the job."""
    config = write_config(place / "c.toml", kip={"steps": 120})
    program = f"""
import os, signal, sys, threading, time
def interrupt():
    while not os.path.exists({str(place / "out/latest.h5")!r}):
        time.sleep(0.05)
    os.killpg(0, signal.SIGINT)
threading.Thread(target=interrupt, daemon=True).start()
from hpcdistill.__main__ import main
sys.exit(main())
"""
    result = run("submit", config, "--profile", place / "p.toml", "--output", place / "out", "--wait",
                 program=(sys.executable, "-c", program))  # fmt: skip
    assert result.code == 130, result.stdout + result.stderr
    assert "the jobs go on" in result.stdout
    assert "Traceback" not in result.stderr
    wait_for_states(lambda states: states == ["COMPLETED"])
    assert read_own(place / "out/latest.h5").attributes["step"] == 120


WRONG = {
    "profile": (["--profile", "nowhere.toml"], "nowhere.toml: no such file"),
    "sweep": (["--sweep", "kip.step=1,2"], "unknown key 'kip.step' (did you mean 'kip.steps'?)"),
    "value": (["--sweep", "kip.steps=1,many"], "kip.steps must be a whole number, not 'many'"),
    "both": (["--sweep", "seed=1,2", "--set", "seed=1"], "seed is given by --set and by --sweep"),
}


@pytest.mark.parametrize(("arguments", "message"), WRONG.values(), ids=WRONG)
def test_wrong_submissions(place, arguments, message):
    result = submit(place, *arguments)
    assert result.code == 2
    (line,) = result.error_lines
    assert message in line
    assert not (place / "out").exists()
    assert listed() == []


def test_an_output_that_cannot_be_written(place):
    result = run(
        "submit", write_config(place / "c.toml"), "--profile", place / "p.toml", "--output", place / "p.toml/out"
    )
    assert (result.code, len(result.error_lines)) == (4, 1), result.stderr
    assert "cannot be written" in result.error_lines[0]
    assert "--output" in result.error_lines[0]
    assert listed() == []


def test_nothing_submitted(place):
    assert "nothing submitted yet" in run("jobs").stdout
    assert run("jobs", "5").code == 2
