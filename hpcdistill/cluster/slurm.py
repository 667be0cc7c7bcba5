"""What Slurm says of jobs, with accounting and without, and cancelling them."""

from __future__ import annotations

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterable

from hpcdistill.cluster.scheduler import FORGOTTEN, Reported
from hpcdistill.errors import EnvironmentSetupError

_SECONDS = 60


def is_there() -> bool:
    """Return whether Slurm's commands are."""
    return shutil.which("squeue") is not None


def cluster_name() -> str:
    """Return the cluster's name, which tells its job numbers from those of others.

    Raises:
        EnvironmentSetupError: no Slurm here, or it does not answer.
    """
    return _setting("ClusterName") or ""


def max_array_jobs() -> int | None:
    """Return how many jobs an array of this cluster can have, None where Slurm does not say.

    Raises:
        EnvironmentSetupError: no Slurm here, or it does not answer.
    """
    most = _setting("MaxArraySize") or ""
    return int(most) if most.isdigit() else None


def describe() -> str:
    """Return the version, the cluster, what srun's --mpi can be, and whether there is accounting.

    Raises:
        EnvironmentSetupError: Slurm does not answer.
    """
    listed = subprocess.run(["srun", "--mpi=list"], capture_output=True, text=True, timeout=_SECONDS, check=False)
    kinds = [line.strip() for line in (listed.stdout + listed.stderr).splitlines() if line.strip()]
    words = [kind for kind in kinds if re.fullmatch(r"\w+", kind) and kind not in ("none", "openmpi")]
    accounting = subprocess.run(["sacct"], capture_output=True, timeout=_SECONDS, check=False).returncode == 0
    return (
        f"{_run('scontrol', '--version').strip()}, cluster {cluster_name()}, --mpi: {', '.join(words)}, "
        f"{'with' if accounting else 'without'} accounting"
    )


def job_states(job_ids: Iterable[str]) -> dict[str, Reported]:
    """Return the state of each job.

    slurmctld knows the jobs that wait, run, or ended some minutes ago; accounting, where there is any, knows the rest.

    Args:
        job_ids: such as "12" or "12_3" (a job of an array).

    Raises:
        EnvironmentSetupError: no Slurm here, or it does not answer.
    """
    wanted = list(dict.fromkeys(job_ids))
    found = _from_controller() if wanted else {}
    missing = [job_id for job_id in wanted if job_id not in found]
    found |= _from_accounting(missing) if missing else {}
    return {job_id: found.get(job_id, Reported(FORGOTTEN)) for job_id in wanted}


def cancel(job_ids: list[str]) -> None:
    """Cancel jobs; those that run are told to save, and have Slurm's `KillWait` for it (30 s by default).

    Raises:
        EnvironmentSetupError: Slurm refuses, or does not answer.
    """
    _run("scancel", *job_ids)


def _from_controller() -> dict[str, Reported]:
    lines = _run("squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", "%i|%T|%r").splitlines()
    fields = (line.split("|", 2) for line in lines if line.count("|") >= 2)
    return {job_id: Reported(name, "" if reason == "None" else reason) for job_id, name, reason in fields}


def _from_accounting(job_ids: list[str]) -> dict[str, Reported]:
    """Return what accounting knows of these jobs: nothing where it is disabled."""
    command = ["sacct", "-n", "-P", "-X", "--array", "-o", "JobID,State", "-j", ",".join(job_ids)]
    try:
        lines = _run(*command).splitlines()
    except EnvironmentSetupError:
        return {}
    fields = (line.split("|", 1) for line in lines if "|" in line)
    return {job_id: Reported(state.split()[0]) for job_id, state in fields if state.strip()}  # "CANCELLED by 1000"


def _setting(name: str) -> str | None:
    """Return a word of Slurm's configuration, None where it has none of that name."""
    found = re.search(rf"^{name}\s*=\s*(\S+)", _configuration(), re.MULTILINE)
    return found[1] if found else None


@functools.cache
def _configuration() -> str:
    return _run("scontrol", "show", "config")


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except FileNotFoundError:
        raise EnvironmentSetupError(
            f"{command[0]}: not found. Run this where Slurm's commands are (a login node), or use executor = 'local'."
        ) from None
    except subprocess.TimeoutExpired:
        raise EnvironmentSetupError(f"{command[0]}: no answer from Slurm within {_SECONDS} s. Try again.") from None
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()
        raise EnvironmentSetupError(f"{command[0]}: {lines[-1].removeprefix(f'{command[0]}: ')}")
    return done.stdout
