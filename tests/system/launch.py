"""Starting the real command line, alone or under mpiexec, and ending it whatever happens."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import tomli_w

TIMEOUT_SECONDS = 60
#: How launchers tell a process its rank.
RANK_VARIABLES = (b"OMPI_COMM_WORLD_RANK=", b"PMI_RANK=")
#: Ranks here share few cores with each other and with the tests: none may keep one while it waits.
SHARED_CORES = {"OMP_NUM_THREADS": "1", "OMPI_MCA_mpi_yield_when_idle": "1"}
HPCDISTILL = (sys.executable, "-m", "hpcdistill")


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
    command = command_line(ranks, program, prefix) + [str(argument) for argument in arguments]
    process = start(command, **({"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | popen))
    try:
        stdout, stderr = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        end_session(process)
        stdout, stderr = process.communicate()
        raise AssertionError(f"{' '.join(command)}: still running after {timeout} s\n{stdout}\n{stderr}") from None
    return Result(process.returncode, stdout, stderr)


def start(command, **popen):
    """Start a command in a session of its own, by which `end_session` finds all that it starts."""
    return subprocess.Popen(command, start_new_session=True, text=True, env=os.environ | SHARED_CORES, **popen)


def end_session(process):
    """Kill a command from `start` with all its ranks, which launchers put into process groups of their own."""
    for pid in session_members(process.pid):
        kill(pid)


def kill(pid):
    """Send SIGKILL to a process, which may have ended by itself; return whether it was there."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def session_members(session):
    """Process ids in a session."""
    return [pid for pid in _process_ids() if _session(pid) == session]


def rank_processes(process, ranks, timeout=TIMEOUT_SECONDS):
    """Wait until a command has started all its ranks; return their process ids."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        found = [pid for pid in session_members(process.pid) if _is_rank(pid)]
        if len(found) == ranks:
            return sorted(found)
        time.sleep(0.02)
    raise AssertionError(f"{ranks} ranks did not start within {timeout} s")


def _process_ids():
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _session(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[3])
    except (OSError, IndexError):
        return None


def _is_rank(pid):
    try:
        return any(name in Path(f"/proc/{pid}/environ").read_bytes() for name in RANK_VARIABLES)
    except OSError:
        return False


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
