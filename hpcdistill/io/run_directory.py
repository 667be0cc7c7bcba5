"""The folder of one run: its checkpoints, which of them are kept, and where a resumed run starts. Called on rank 0."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from hpcdistill.errors import CheckpointError, ConfigError, EnvironmentSetupError, StorageError
from hpcdistill.io.checkpoint import Checkpoint, read_checkpoint
from hpcdistill.io.run_notes import RunNotes
from hpcdistill.whole_file import TEMPORARY_SUFFIX, name_to_be, replacing, temporary_name

#: Steps at which the papers' authors released checkpoints; then every `_LATE_INTERVAL` steps.
PAPER_STEPS = frozenset((0, 1, 2, 4, 6, 8, 12, 18, 26, 37, 54, 78, 112, 162, 233, 335, 483, 695, 1000))
_LATE_INTERVAL = 500
#: What a run writes in its folder under a temporary name first.
_OWN_NAMES = re.compile(r"(step-\d+|best|latest|preprocess)\.h5|(owner|reached|evaluation)\.json|probe")


def in_paper_schedule(step: int) -> bool:
    """Return whether the papers' authors kept the checkpoint of this step. Source: their released sets."""
    return step in PAPER_STEPS or (step > max(PAPER_STEPS) and step % _LATE_INTERVAL == 0)


class RunDirectory:
    """`OUTPUT/checkpoints/step-NNNNNN.h5`, `OUTPUT/latest.h5` (a link), `OUTPUT/best.h5`, the ZCA matrix, notes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoints = path / "checkpoints"
        self.latest = path / "latest.h5"
        self.best = path / "best.h5"
        self.preprocess = path / "preprocess.h5"
        self.notes = RunNotes(path)

    @classmethod
    def of_checkpoint(cls, file: Path) -> RunDirectory:
        """Return the folder of the run that a checkpoint (or a link to it) belongs to, if it is still where it was."""
        folder = file.resolve().parent
        return cls(folder.parent if folder.name == "checkpoints" else folder)

    def checkpoint_path(self, step: int) -> Path:
        """Return the name of a step's checkpoint."""
        return self.checkpoints / f"step-{step:06d}.h5"

    def check_free(self) -> None:
        """Raise `ConfigError` if the folder holds a run already."""
        if self._steps():
            raise ConfigError(
                f"{self.path}: holds a run already (last checkpoint: step {self._steps()[-1]}). "
                "Continue it with --resume, or give another folder with --output."
            )

    def prepare(self, *, resume: bool) -> None:
        """Make the folder, check that it can be written to, take it over, and remove what a killed run left unfinished.

        Raises:
            ConfigError: it holds a run already, and `resume` was not asked for.
            EnvironmentSetupError: it cannot be made or written to.
        """
        if not resume:
            self.check_free()
        try:
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            (probe := temporary_name(self.checkpoints / "probe")).touch()
            probe.unlink()
            self.notes.take_over()  # first: a run that still writes must find out why its files are gone
            for leftover in (*self._unfinished(self.checkpoints), *self._unfinished(self.path)):
                leftover.unlink(missing_ok=True)
        except OSError as error:
            raise EnvironmentSetupError(
                f"{self.path}: cannot be written to ({error.strerror}). Give another folder with --output."
            ) from error

    def newest(self, say: Callable[[str], None]) -> Checkpoint | None:
        """Return the newest complete checkpoint, or None where there is none at all.

        Raises:
            CheckpointError: there are checkpoints, but not one of them can be used.
        """
        problem = None
        for step in reversed(self._steps()):
            path = self.checkpoint_path(step)
            try:
                checkpoint = read_checkpoint(path)
            except CheckpointError as error:
                problem = error
                say(f"skipping a damaged checkpoint: {error}")
                continue
            say(f"resuming from {path}")
            return checkpoint
        if problem is not None:
            raise problem
        return None

    def published(self, step: int, keep: int, *, paper_steps: bool) -> None:
        """Point `latest.h5` to a step's checkpoint that was just written, and remove those no longer kept.

        Args:
            keep: how many of the newest stay.
            paper_steps: whether those of the papers' schedule stay, too.
        """
        try:
            with replacing(self.latest, durable=False) as link:
                link.symlink_to(self.checkpoint_path(step).relative_to(self.path))
            for old in self._steps()[:-keep]:
                if not (paper_steps and in_paper_schedule(old)):
                    self.checkpoint_path(old).unlink(missing_ok=True)
        except OSError as error:
            raise StorageError(f"{self.path}: checkpoints could not be tidied ({error}).") from error

    @staticmethod
    def _unfinished(folder: Path) -> list[Path]:
        """Return the files of a folder that a run, and nothing else, was about to give their names."""
        found = folder.glob(f"*{TEMPORARY_SUFFIX}")
        return [path for path in found if _OWN_NAMES.fullmatch(name_to_be(path) or "")]

    def _steps(self) -> list[int]:
        names = (p.stem.removeprefix("step-") for p in self.checkpoints.glob("step-*.h5"))
        return sorted(int(name) for name in names if name.isdigit())
