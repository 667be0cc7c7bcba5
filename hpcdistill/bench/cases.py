"""What is measured, as plain data read from the command line. No NumPy, no MPI."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from hpcdistill.architecture import parse_architecture
from hpcdistill.errors import ConfigError

Shape = tuple[int, int, int]

OPERATIONS = ("forward", "forward+vjp")
DTYPES = ("float32", "float64")
DEFAULT_CASES = ("ConvNet@32x32x3", "ConvNet@28x28x1", "ConvNet3@32x32x3", "Myrtle-5@32x32x3")


@dataclass(frozen=True)
class Case:
    """A network by name and the `(h, w, c)` of the images it sees."""

    architecture: str
    shape: Shape

    @property
    def shape_text(self) -> str:
        """The shape as on the command line, "32x32x3"."""
        return "x".join(map(str, self.shape))


@dataclass(frozen=True)
class KernelRequest:
    """What `bench kernels` measures.

    Attributes:
        backend: name of a kernel backend, or "auto".
        cases, dtypes, operations: every combination is measured; dtypes and operations are from the lists above.
        rounds: how often; the median counts.
        seconds: length of a round, about.
        pairs: rows and columns of the backend's block; None: 10 rows and the columns that fill a round.
        with_peer: whether neural-tangents is measured beside it.
    """

    backend: str
    cases: tuple[Case, ...]
    dtypes: tuple[str, ...]
    operations: tuple[str, ...]
    rounds: int
    seconds: float
    pairs: tuple[int, int] | None
    with_peer: bool


def parse_case(text: str) -> Case:
    """Return the case that ARCHITECTURE@HEIGHTxWIDTHxCHANNELS names.

    Raises:
        ConfigError: another form, an unknown architecture, or images too small for it; the message has the right form.
    """
    name, at, shape = text.rpartition("@")
    if not at or not name:
        raise ConfigError(
            f"--architecture {text!r} must have the form NAME@HEIGHTxWIDTHxCHANNELS, as {DEFAULT_CASES[0]}."
        )
    case = Case(name, parse_shape(shape, "--architecture"))
    parse_architecture(name).check_image_size(*case.shape[:2])
    return case


def parse_shape(text: str, option: str = "--shape") -> Shape:
    """Return the `(h, w, c)` that HEIGHTxWIDTHxCHANNELS says; `ConfigError`, naming `option`, for anything else."""
    height, width, channels = _sizes(text, 3, f"{option}: {text!r} must be HEIGHTxWIDTHxCHANNELS, as 32x32x3.")
    return height, width, channels


def parse_pairs(text: str) -> tuple[int, int]:
    """Return rows and columns that ROWSxCOLUMNS says; `ConfigError` for anything else."""
    rows, columns = _sizes(text, 2, f"--pairs: {text!r} must be ROWSxCOLUMNS, as 10x64.")
    return rows, columns


def check_threads(counts: list[int], backend: str) -> tuple[int, ...]:
    """Return numbers of threads without repetition.

    Where none are given: all cores that this process may use, and 1 unless it is a GPU that computes.

    Raises:
        ConfigError: more threads than cores → the largest number in the message.
    """
    cores = len(os.sched_getaffinity(0))
    if counts and max(counts) > cores:
        raise ConfigError(f"--threads {max(counts)}: this process may use {cores} core(s). Give at most {cores}.")
    return tuple(dict.fromkeys(counts or ((cores,) if backend == "cuda" else (cores, 1))))


def _sizes(text: str, count: int, message: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d*(x[1-9]\d*)*", text) or text.count("x") != count - 1:
        raise ConfigError(message)
    return [int(part) for part in text.split("x")]
