"""What a cluster wants to be told: a TOML file becomes frozen dataclasses, as a configuration does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field

from hpcdistill.cluster.scheduler import find_scheduler, scheduler_names
from hpcdistill.config import read_text
from hpcdistill.errors import ConfigError
from hpcdistill.schema import all_keys, build, flatten, key

#: Slurm counts time in minutes, and may send its signal up to so many seconds early.
SIGNAL_MAY_BE_EARLY_SECONDS = 60


@dataclass(frozen=True)
class Resources:
    """Section `[resources]`."""

    partition: str = key("", "partition; empty: the cluster's default")
    account: str = key("", "account that pays; empty: your default")
    qos: str = key("", "quality of service; empty: your default")
    nodes: int = key(1, "nodes of a job", minimum=1)
    tasks_per_node: int = key(1, "MPI ranks on each node", minimum=1)
    cpus_per_task: int = key(1, "cores, and threads, of each rank", minimum=1)
    gpus_per_node: int = key(0, "GPUs of each node", minimum=0)
    memory: str = key("", "memory of each node, such as 64G; empty: the partition's default")
    time: str = key("4:00:00", "time limit: minutes, H:MM:SS or D-HH:MM:SS; a job that needs more is requeued")
    array_parallelism: int = key(16, "jobs of a sweep that may run at a time", minimum=1)
    sbatch: Mapping[str, str] = key({}, 'further options of sbatch, such as {constraint = "a100"}')

    @property
    def unit(self) -> str:
        """What a rank computes on: a "GPU", or its "core"s; as `cost.rates` calls them."""
        return "GPU" if self.gpus_per_node else "core"


@dataclass(frozen=True)
class Launch:
    """Section `[launch]`."""

    mpi: str = key("pmix", "srun's --mpi; `srun --mpi=list` shows what the cluster has")
    arguments: tuple[str, ...] = key((), 'further arguments of srun (of mpirun, if local), such as "--cpu-bind=cores"')
    container: str = key("", "what runs a command in a container, such as: apptainer exec --nv /path/image.sif")
    python: str = key("", "Python with hpcdistill on the nodes; empty: the one that submits")


@dataclass(frozen=True)
class Environment:
    """Section `[environment]`."""

    modules: tuple[str, ...] = key((), "modules to load")
    setup: tuple[str, ...] = key((), "shell commands to run before the ranks start, such as activating an environment")
    variables: Mapping[str, str] = key({}, 'variables to set, such as {UCX_TLS = "rc,self,sm"}')


@dataclass(frozen=True)
class Restart:
    """Section `[restart]`."""

    signal_delay_seconds: int = key(120, "how long before the time limit the run is told to save and stop", minimum=1)
    max_restarts: int = key(3, "how often a run is started again after a rank was killed", minimum=0)


@dataclass(frozen=True)
class Profile:
    """A whole profile."""

    executor: str = key("slurm", "slurm, or local: mpirun on this machine", tuple(scheduler_names()))
    resources: Resources = field(default_factory=Resources)
    launch: Launch = field(default_factory=Launch)
    environment: Environment = field(default_factory=Environment)
    restart: Restart = field(default_factory=Restart)

    @property
    def ranks(self) -> int:
        """MPI ranks of a job."""
        return self.resources.nodes * self.resources.tasks_per_node

    @property
    def time_minutes(self) -> int:
        """The time limit in whole minutes, rounded up."""
        return parse_minutes(self.resources.time)


def load_profile(path: str) -> Profile:
    """Read and check a profile.

    Raises:
        ConfigError: the file is missing or not TOML; a key, type or value is wrong. The message names it and the valid
            ones.
    """
    try:
        table = tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}.") from None
    profile = build(Profile, table, "", path)
    try:
        _check_together(profile)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    return profile


def parse_minutes(text: str) -> int:
    """Return a time as Slurm writes it (minutes, M:SS, H:MM:SS, D-H, D-HH:MM, D-HH:MM:SS) in minutes, rounded up.

    Raises:
        ConfigError: it is none of these, or zero.
    """
    found = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", text.strip())
    if found is None:
        raise ConfigError(f"resources.time {text!r} is no time. Write minutes, H:MM:SS or D-HH:MM:SS.")
    days, *parts = found.groups()
    numbers = [int(part) for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = [*numbers, 0, 0][:3]
    elif len(numbers) == 3:
        hours, minutes, seconds = numbers
    else:
        hours, (minutes, seconds) = 0, [*numbers, 0][:2]
    total = int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
    if total == 0:
        raise ConfigError(f"resources.time {text!r} is no time at all.")
    return -(-total // 60)


def _check_together(profile: Profile) -> None:
    for name in profile.environment.variables:
        if not re.fullmatch(r"[A-Za-z_]\w*", name, re.ASCII):
            raise ConfigError(f"environment.variables: {name!r} is no name of a variable.")
    delay, limit = profile.restart.signal_delay_seconds, 60 * profile.time_minutes
    defaults = {name: default for name, default, _ in all_keys(Profile)}
    for name in find_scheduler(profile.executor).unused_keys:
        if flatten(profile)[name] != defaults[name]:
            raise ConfigError(f"{name} means nothing with executor = {profile.executor!r}. Leave it out.")
    if limit < delay + SIGNAL_MAY_BE_EARLY_SECONDS:
        raise ConfigError(
            f"resources.time of {profile.time_minutes} min is too short for restart.signal_delay_seconds={delay}: the "
            f"signal may come {SIGNAL_MAY_BE_EARLY_SECONDS} s early and end every job at its start. "
            f"Use at least {-(-(delay + SIGNAL_MAY_BE_EARLY_SECONDS) // 60)} min, or a shorter delay."
        )
