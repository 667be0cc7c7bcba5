"""What is to be submitted: runs, and the profile of where."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hpcdistill.cluster.profile import Profile
from hpcdistill.config import Config, parse_stored, read_text, why_not_resumed
from hpcdistill.errors import ConfigError
from hpcdistill.io.run_directory import RunDirectory


@dataclass(frozen=True)
class Run:
    """One run to submit: its configuration, its folder, and what a sweep has set (by section.key)."""

    config: Config
    output: Path
    values: dict[str, str]

    @property
    def config_path(self) -> Path:
        """Where the resolved configuration is put for the job to read."""
        return self.output / "config.toml"

    def arguments(self, *, resume: bool) -> tuple[str, ...]:
        """Return what follows `hpcdistill` on the command line."""
        return ("run", str(self.config_path), "--output", str(self.output), *(["--resume"] if resume else []))


@dataclass(frozen=True)
class Request:
    """What is to be submitted together.

    Attributes:
        name: of the jobs.
        folder: for logs and status files.
        resume: whether the runs continue what is in their folders.
    """

    name: str
    profile: Profile
    runs: tuple[Run, ...]
    folder: Path
    resume: bool

    def check(self) -> None:
        """Raise `ConfigError` where a job would wait for its turn only to find that it cannot start."""
        for path in (self.folder, *(run.output for run in self.runs)):
            if "%" in str(path):
                raise ConfigError(f"{path}: Slurm gives % in paths a meaning. Choose another folder with --output.")
        for run in self.runs:
            if not self.resume:
                RunDirectory(run.output).check_free()
            elif run.config_path.exists():
                stored = parse_stored(read_text(run.config_path), where=str(run.config_path))
                if why := why_not_resumed(stored, run.config):
                    raise ConfigError(f"{run.output}: {why}")
