"""Submitting jobs to a test cluster, disturbing them, and waiting for what comes of it."""

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import tomli_w
from launch import ACTING, ENVIRONMENT, MARK, TIMEOUT_SECONDS, Result, kill, wait_until, write_config

from hpcdistill.attempt import read_attempts

#: Each method, in few steps with many checkpoints.
CONFIGS = {
    "kip": {"kip": {"steps": 60, "batch": 100, "evaluate_every": 20}, "checkpoint": {"every": 5}},
    "label_solve": {"method": "label_solve", "label_solve": {"chunk": 20}},
    "krr": {"method": "krr", "krr": {"draws": 40}, "support": {"images_per_class": 3}},
}
#: Seconds that a gradient takes longer, so that there is time to disturb a run, and from when on it waits for that.
SLOW = "slow=0.1 stall=25"
#: Virtual nodes share a host: Open MPI's ranks must not look for each other in shared memory, and two attempts at a job
#: that overlap on different nodes must not share temporary files.
OPEN_MPI = {
    "OMPI_MCA_btl": "self,tcp", "OMPI_MCA_btl_tcp_if_include": "lo", "OMPI_MCA_mpi_yield_when_idle": "1",
    "TMPDIR": "${SLURM_CONF%/*}/tmp-$SLURMD_NODENAME",
}  # fmt: skip


@dataclass(frozen=True)
class SubmittedJob:
    """A job of `hpcdistill submit`, or of sbatch."""

    cluster: object
    id: str
    output: Path
    log_path: Path

    @property
    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def attempts(self):
        """What the status file of each attempt says."""
        return read_attempts(self.output / "slurm", self.id)

    @property
    def state(self):
        return self.cluster.run("squeue", "-h", "-t", "all", "-j", self.id, "-o", "%T").stdout.strip()

    @property
    def step(self):
        """The step of the newest checkpoint, after which it is called; -1 before the first."""
        latest = self.output / "latest.h5"
        return int(latest.readlink().stem.removeprefix("step-")) if latest.is_symlink() else -1

    def reaches_step(self, step):
        """Wait until it has, or the job has failed; return whether it has."""
        return self._wait(lambda: self.step >= step or self._has_failed(), f"step {step}") and self.step >= step

    def wait_for_step(self, step):
        assert self.reaches_step(step), f"job {self.id} has failed before step {step}\n{self.log}"

    def wait_for_state(self, *states):
        return self._wait(lambda: self.state in states and self.state, f"state {' or '.join(states)}")

    def wait_for_attempt(self, number):
        self._wait(lambda: len(self.attempts) >= number or self._has_failed(), f"attempt {number}")
        assert len(self.attempts) >= number, f"job {self.id} has failed before attempt {number}\n{self.log}"

    def _has_failed(self):
        return self.state in ("FAILED", "CANCELLED", "TIMEOUT")

    def _wait(self, true, what):
        return wait_until(true, lambda: f"{what} of job {self.id}\n{self.log}{self.cluster.logs()}", every=0.5)

    def signal(self, name):
        self.cluster.run("scancel", f"--signal={name}", self.id)

    def kill_rank(self, rank):
        """Kill a rank, and the others when Slurm has told them to end: as it does, but KillWait seconds later."""
        pids, said = self._rank_processes(), ": Terminating StepId="
        before = self.log.count(said)
        os.kill(pids.pop(rank), signal.SIGKILL)
        self._wait(lambda: self.log.count(said) > before, "the end of the step")
        for pid in pids.values():
            kill(pid)

    def rank_process(self, rank):
        """Process id of a rank."""
        return self._rank_processes()[rank]

    def _rank_processes(self):
        found = {}
        for node in self.cluster.nodes:
            for pid in self.cluster.processes(node):
                environ = dict(line.partition("=")[::2] for line in _read(f"/proc/{pid}/environ").split("\0"))
                if environ.get("SLURM_JOB_ID") == self.id and "PMIX_RANK" in environ:
                    found[int(environ["SLURM_PROCID"])] = pid
        return found


def _read(path):
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


class Workplace:
    """A folder from which a test submits, with a memory of its own of what was submitted."""

    def __init__(self, cluster, folder):
        self.cluster, self.folder = cluster, folder
        own = {"HPCDISTILL_STATE": str(folder / "state"), MARK: os.environ[MARK]}
        self.environment = cluster.environment | ENVIRONMENT | own

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.cluster.run("scancel", "--user=root", check=False)
        self.cluster.revive()
        wait_until(lambda: not self.cluster.run("squeue", "-h").stdout.strip(), "an empty queue", every=0.5)

    def profile(self, *, nodes=1, ranks=2, acting="", launch=None, variables=None, **sections):
        """Write a profile: `ranks` in all on `nodes`; `acting` for tests/system/acting.py. Return its path."""
        python = {"python": self._python(acting)} if acting else {}
        resources = {"nodes": nodes, "tasks_per_node": ranks // nodes, "time": "10"}
        table = {
            "resources": resources | sections.pop("resources", {}),
            "launch": python | (launch or {}),
            "environment": {"variables": OPEN_MPI | (variables or {})},
            "restart": {"signal_delay_seconds": 60} | sections.pop("restart", {}),
        }  # fmt: skip
        path = self.folder / f"profile-{len(list(self.folder.glob('profile-*')))}.toml"
        path.write_text(tomli_w.dumps(table))
        return path

    def slow_command(self):
        """Write a command `hpcdistill` whose steps take their time; return its folder."""
        path = self.folder / "bin/hpcdistill"
        path.parent.mkdir()
        path.write_text(f'#!/bin/sh\nexec "{self._python(SLOW)}" -m hpcdistill "$@"\n')
        path.chmod(0o755)
        return path.parent

    def _python(self, acting):
        """Write a Python that is `acting`, in a folder with a space in its name; return its path."""
        path = self.folder / "my env" / re.sub(r"\W", "-", acting)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} {ACTING} {acting} "$@"\n')
        path.chmod(0o755)
        return str(path)

    def config(self, **sections):
        """Write a configuration; return its path."""
        return write_config(self.folder / f"c{len(list(self.folder.glob('c*.toml')))}.toml", **sections)

    def call(self, *arguments, prefix=(sys.executable, "-m", "hpcdistill"), **environment):
        """Run the command line here; return its `Result`."""
        command = [*prefix, *map(str, arguments)]
        done = subprocess.run(command, env=self.environment | environment, cwd=self.folder, text=True, check=False,
                              capture_output=True, timeout=TIMEOUT_SECONDS)  # fmt: skip
        return Result(done.returncode, done.stdout, done.stderr)

    def submit(self, config, profile, *arguments):
        """Submit one run; return its job."""
        output = self.folder / f"out{len(list(self.folder.glob('out*')))}"
        result = self.call("submit", config, "--profile", profile, "--output", output, *arguments)
        assert result.code == 0, result.stderr
        job_id = re.search(r"^job (\d+):", result.stdout, re.MULTILINE)[1]
        return SubmittedJob(self.cluster, job_id, output, output / "slurm" / f"{job_id}_0_log.out")
