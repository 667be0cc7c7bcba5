"""Named errors. Each message says what was wrong, where (file, key or value) and what to do about it.

The exit code of the command line tells a batch system whether trying again can help: an input error never can.
"""

from __future__ import annotations

import platform

EXIT_INTERNAL = 1
EXIT_INPUT = 2
EXIT_NUMERICAL = 3
EXIT_STORAGE = 4
#: A run that was asked to end, and can go on: the code for "try again later" of sysexits.h.
EXIT_STOPPED = 75


class HpcDistillError(Exception):
    """Base of all errors a user can act on. The message is one line.

    Attributes:
        exit_code: of a command that ends with it.
        label: how the line begins that tells it.
    """

    exit_code = EXIT_INTERNAL
    label = "error: "


class InputError(HpcDistillError):
    """What the user gave cannot be used. Trying again without a change will not help."""

    exit_code = EXIT_INPUT


class ConfigError(InputError):
    """A configuration file or `--set` option is wrong."""


class DataError(InputError):
    """A data set is missing, damaged, or does not fit the configuration."""


class CheckpointError(InputError):
    """A checkpoint is missing, incomplete, or belongs to another run."""


class KernelGivenError(CheckpointError):
    """A kernel file stands where a checkpoint is wanted."""


class TakenOverError(InputError):
    """Another run writes into this run's folder, so this one must not."""


class EnvironmentSetupError(InputError):
    """Something this machine lacks (a library, a launcher, a permission)."""


class MemoryShortageError(EnvironmentSetupError):
    """An array does not fit the memory of a node, or of its GPU. `cause` is what NumPy or CuPy says."""

    @classmethod
    def here(cls, error: MemoryError) -> MemoryShortageError:
        """Return an error of this node."""
        return cls(str(error), platform.node())

    def __init__(self, cause: str, node: str) -> None:
        self.cause, self.node = cause, node
        super().__init__(
            f"out of memory on {node}: {cause.rstrip('.')}. Use fewer ranks per node or GPU, nodes with more memory, "
            "or a smaller support; on a GPU, also a smaller HPCDISTILL_CUDA_GIB."
        )

    def __reduce__(self) -> tuple:
        """Pickle by the arguments, so that the error can travel between ranks."""
        return type(self), (self.cause, self.node)


class NumericalError(HpcDistillError):
    """The computation left the range where its result means anything."""

    exit_code = EXIT_NUMERICAL


class NotPositiveDefiniteError(NumericalError):
    """A matrix that must be positive definite is not.

    `minor` is the order of the first leading minor that is not positive (1-based, LAPACK's `info`).
    """

    def __init__(self, minor: int, size: int, what: str = "K_ss + λI") -> None:
        self.minor, self.size, self.what = minor, size, what
        super().__init__(
            f"{what} ({size}×{size}) is not positive definite: its leading minor of order {minor} is not positive. "
            "Raise solve.reg, use kernel.precision=float64, or remove duplicate images."
        )

    def __reduce__(self) -> tuple:
        """Pickle by the arguments, so that the error can travel between ranks."""
        return type(self), (self.minor, self.size, self.what)


class NotFiniteError(NumericalError):
    """A loss, label or image became NaN or infinite."""


class StorageError(HpcDistillError):
    """A file could not be written: no space, quota, or an I/O error. What was there before is intact."""

    exit_code = EXIT_STORAGE


class InterruptedWriteError(StorageError):
    """HDF5 failed within a write. It would crash while the process ends in an orderly way, so end it at once."""


class StopRequested(HpcDistillError):
    """A signal asked the run to end. All ranks raise it together, once what they have computed is saved."""

    exit_code = EXIT_STOPPED
    label = ""


class NotSuitable(Exception):
    """A kernel backend cannot serve this request; the next one in the list is asked. Says why.

    Attributes:
        unexpected: whether a user may have thought that it can.
    """

    def __init__(self, reason: str, *, unexpected: bool = False) -> None:
        super().__init__(reason)
        self.unexpected = unexpected
