"""Starting the real command line, alone or under mpiexec, and ending it whatever happens."""

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import preloaded
import tomli_w

#: Far above what anything here takes on two loaded cores: what is still there by then hangs.
TIMEOUT_SECONDS = 180
#: How launchers tell a process its rank.
RANK_VARIABLES = (b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK=")
#: Ranks here share few cores with each other and with the tests: none may keep one while it waits. Python says where it
#: is when it is aborted.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1", "PYTHONFAULTHANDLER": "1"}
#: A variable in the environment of all that a test starts; its value is the test.
MARK = "HPCDISTILL_STARTED_BY"
HPCDISTILL = (sys.executable, "-m", "hpcdistill")
ACTING = Path(__file__).with_name("acting.py")
#: The command line, with steps that take long enough to disturb them, and nearly no work.
SLOW_STEPS = (sys.executable, str(ACTING), "slow=0.05", "stall=25", "-m", "hpcdistill")
#: The command line, with a kernel in a file that all but stands when each rank has written some tiles.
SLOW_TILES = (sys.executable, str(ACTING), "tile=0", "stall=20", "-m", "hpcdistill")


@dataclass(frozen=True)
class Result:
    """What came of a command."""

    code: int
    stdout: str
    stderr: str

    @property
    def error_lines(self):
        lines = self.stderr.replace("\0", "").splitlines()  # Open MPI 5 ends what it says of an abort with a NUL
        return [line for line in lines if line.startswith("hpcdistill:")]


def command_line(ranks, program=HPCDISTILL, prefix=()):
    """The command without its arguments; `ranks` 0 means without a launcher."""
    launcher = ("mpiexec", "-n", str(ranks)) if ranks else ()
    return [*prefix, *launcher, *program]


def run(*arguments, ranks=0, program=HPCDISTILL, prefix=(), timeout=TIMEOUT_SECONDS, **popen):
    """Run a command to its end and return its `Result`; fail if it takes longer than `timeout` seconds."""
    if ranks == 0 and program is HPCDISTILL and not prefix and not popen and preloaded.usable():
        arguments = [str(argument) for argument in arguments]
        code, stdout, stderr, hung = preloaded.run(arguments, dict(os.environ | ENVIRONMENT), timeout)
        assert hung is None, f"{hung}\n{stdout}\n{stderr}"
        return Result(code, stdout, stderr)
    command = command_line(ranks, program, prefix) + [str(argument) for argument in arguments]
    process = start(command, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen))
    stdout, stderr = finish(process, timeout)
    return Result(process.returncode, stdout, stderr)


def succeed(*arguments, ranks=0):
    """Run a command that is to succeed; return what it prints."""
    result = run(*arguments, ranks=ranks)
    assert result.code == 0, result.stderr
    return result.stdout


def start(command, **popen):
    """Start a command in a session of its own, by which `end_session` finds all that it starts."""
    return subprocess.Popen(command, start_new_session=True, text=True, env=os.environ | ENVIRONMENT, **popen)


def finish(process, timeout=TIMEOUT_SECONDS):
    """Wait for a command from `start`; return what it has printed. If it hangs, fail, and say where each rank was."""
    try:
        return process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _abort(process)
        end_session(process)
        printed = "\n".join(text or "" for text in process.communicate())
        raise AssertionError(f"{process.args}: still running after {timeout} s\n{printed}") from None


def _abort(process):
    """Have Python say where it is. A launcher must not see the first rank end before the last one has said so."""
    members = session_members(process.pid)
    ranks = [pid for pid in members if _is_rank(pid)]
    launchers = [pid for pid in members if pid not in ranks] if ranks else []
    for number, pids in ((signal.SIGSTOP, launchers), (signal.SIGABRT, ranks or members)):
        for pid in pids:
            kill(pid, number)
    time.sleep(3)
    for pid in launchers:
        kill(pid, signal.SIGCONT)
    time.sleep(2 if launchers else 0)


def end_session(process):
    """Kill a command from `start` with all its ranks, which launchers put into process groups of their own."""
    for pid in session_members(process.pid):
        kill(pid)


def wait_until(true, what="what was waited for", process=None, every=0.05):
    """Wait for a condition, looking every so many seconds; return what it returns.

    Args:
        what: what is waited for, in words, or a function that returns them.
        process: fail if it ends before the condition holds.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not (found := true()):
        if process is not None and process.poll() is not None and not (found := true()):
            raise AssertionError(f"{_said(what)}: the process has ended with {process.returncode} before")
        if time.monotonic() > deadline:
            raise AssertionError(f"{_said(what)}: not within {TIMEOUT_SECONDS} s")
        time.sleep(every)
    return found


def _said(what):
    return what() if callable(what) else what


def kill(pid, number=signal.SIGKILL):
    """Send a signal to a process, which may have ended by itself; return whether it was there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def session_members(session):
    """Process ids in a session."""
    return [pid for pid in _process_ids() if _session(pid) == session]


def rank_processes(process, ranks):
    """Wait until a command has started all its ranks; return their process ids."""

    def found():
        pids = [pid for pid in session_members(process.pid) if _is_rank(pid)]
        return len(pids) == ranks and sorted(pids)

    return wait_until(found, f"{ranks} ranks", process)


def marked_processes(mark):
    """What a test has started and has not ended, as "pid: command"."""
    found, variable = [], f"{MARK}={mark}".encode()
    for pid in _process_ids():
        if variable in _read(pid, "environ").split(bytes(1)):
            found.append(f"{pid}: {_read(pid, 'cmdline').replace(bytes(1), b' ').decode(errors='replace')}")
    return found


def _process_ids():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _session(pid):
    try:
        return int(_read(pid, "stat").decode(errors="replace").rpartition(")")[2].split()[3])
    except IndexError:
        return None


def _is_rank(pid):
    return any(name in _read(pid, "environ") for name in RANK_VARIABLES)


def _read(pid, name):
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def write_config(path, method="kip", **sections):
    """Write a small and quick configuration, changed by `section={key: value}`; return its path."""
    table = {
        "data": {"name": "digits"},
        "support": {"images_per_class": 1},
        "kernel": {"architecture": "FC1"},
        "kip": {"steps": 4, "batch": 100, "evaluate_every": 2},
        "checkpoint": {"every": 1},
    }
    for name, keys in sections.items():
        table[name] = table.get(name, {}) | keys
    path.write_text(tomli_w.dumps({"method": method, **table}))
    return path


def percentage(text):
    """The test accuracy that a command says, as it says it."""
    return re.search(r"test accuracy ([\d.]+%)", text)[1]
