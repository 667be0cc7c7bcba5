"""`bench step`: whole KIP steps on the first ranks and on all, in turn."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from hpcdistill.bench.images import natural_images
from hpcdistill.bench.machine import device_of, now, versions
from hpcdistill.bench.meters import Clock, timed_kernels
from hpcdistill.bench.report import check_writable, print_table, write_json
from hpcdistill.bench.step_rows import HEADINGS, StepSample, step_rows, step_table
from hpcdistill.bench.timing import take_turns
from hpcdistill.config import Config
from hpcdistill.data.preprocess import centred_one_hot
from hpcdistill.learning.adam import Adam
from hpcdistill.learning.assemble import Kernels, Targets
from hpcdistill.methods.kip.settings import KipConfig
from hpcdistill.methods.kip.step import KipState, initial_state, kip_gradient, kip_update, make_adam
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import agree, agree_any, first_ranks, gather_objects, on_root, wait_quietly
from hpcdistill.mpi.traffic import counted
from hpcdistill.run.experiment import choose_kernels

CLASSES = 10


@dataclass(frozen=True)
class Problem:
    """A KIP step from a fixed state, the same on every rank: each sample is the same work."""

    config: Config
    kernels: Kernels
    adam: Adam
    state: KipState
    targets: Targets

    def step(self, team: MPI.Intracomm) -> StepSample:
        """Return what one step took this rank. Collective over `team`."""
        clock = Clock()
        agree_any(team, False)  # so that all start together
        with counted() as traffic:
            started = MPI.Wtime()
            gradient = kip_gradient(team, timed_kernels(self.kernels, clock), self.state, self.targets, self.config)
            kip_update(team, self.adam, self.state, gradient)
            seconds = MPI.Wtime() - started
        return StepSample(seconds, clock.seconds, traffic.as_dict())


def bench_step(
    comm: MPI.Intracomm,
    config: Config,
    shape: tuple[int, int, int],
    images: tuple[int, ...],
    rounds: int,
    json_path: Path | None,
) -> None:
    """Measure steps, print a table on rank 0 and write `json_path` there, if given. Collective.

    Args:
        config: architecture, backend, precision and `kip.batch`, the number of target images.
        shape: (h, w, c) of the images.
        images: sizes of the support.
        rounds: steps of each kind; medians count. A first step, which may compile, is not counted.

    Raises:
        InputError: on every rank, before anything is measured.
        NumericalError, StorageError: on every rank.
    """
    on_root(comm, lambda: check_writable(json_path))
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    rows, seconds = measure_steps(comm, config, shape, images, rounds, threads)
    if comm.Get_rank() == 0:
        print_table(HEADINGS, step_table(rows))
        print(f"device: {rows[0]['device']}")
    if json_path:
        library = MPI.Get_library_version().split("\n")[0].strip("\x00 ")
        content = {"command": "bench step", "rows": rows, "rounds": seconds, "versions": versions() | {"mpi": library},
                   "cores_of_rank_0": len(os.sched_getaffinity(0))}  # fmt: skip
        on_root(comm, partial(write_json, json_path, content))
        if comm.Get_rank() == 0:
            print(f"wrote {json_path}")


def measure_steps(
    comm: MPI.Intracomm,
    config: Config,
    shape: tuple[int, int, int],
    images: tuple[int, ...],
    rounds: int,
    threads: int,
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of `step_rows`, and the seconds of each round. Collective; the same on every rank.

    `threads` per rank are reported, not set. See `bench_step`.
    """
    with agree(comm):
        kernels = choose_kernels(config, shape)
    teams = {count: first_ranks(comm, count) for count in rank_counts(comm.Get_size())}
    rows: list[dict[str, Any]] = []
    seconds: list[dict[str, Any]] = []
    facts = {"architecture": config.kernel.architecture, "shape": "x".join(map(str, shape)),
             "backend": kernels.ts.name, "precision": config.kernel.precision, "threads": threads,
             "device": device_of(kernels.ts)}  # fmt: skip
    batch = config.of(KipConfig).batch
    for n in images:
        with agree(comm):
            problem = make_problem(config, kernels, shape, n)
        samplers = [partial(_sample, comm, team, problem) for team in teams.values()]
        _say(comm, f"{n} images, {batch} targets: first steps, not counted")
        take_turns(samplers, 1)
        _say(comm, f"{n} images, {batch} targets: {rounds} round(s) on {', '.join(map(str, teams))} rank(s)")
        samples = dict(zip(teams, take_turns(samplers, rounds), strict=True))
        rows += step_rows(samples, {"images": n, "targets": batch, **facts, "date": now()})
        seconds += [
            {"images": n, "ranks": ranks, "seconds": [max(one.seconds for one in step) for step in steps]}
            for ranks, steps in samples.items()
        ]
    for team in teams.values():
        if team is not None:
            team.Free()
    return rows, seconds


def rank_counts(size: int) -> list[int]:
    """Return 1, 2, 4, … below `size`, and `size`."""
    return [count for count in (1 << k for k in range(size.bit_length())) if count < size] + [size]


def make_problem(config: Config, kernels: Kernels, shape: tuple[int, int, int], n: int) -> Problem:
    """Return a step on `n` random images and `config.kip.batch` targets of ten classes. Not collective."""
    (x_s, y_s), (x_t, y_t) = (
        _labelled_images(count, shape, seed) for seed, count in enumerate((n, config.of(KipConfig).batch))
    )
    adam = make_adam(config)
    state = initial_state(adam, x_s, y_s, config)
    return Problem(
        config, kernels, adam, state, Targets(lambda start, stop: (x_t[start:stop], y_t[start:stop]), len(x_t))
    )


def _labelled_images(n: int, shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    return natural_images(n, shape, seed), centred_one_hot(np.arange(n) % CLASSES, CLASSES)


def _sample(comm: MPI.Intracomm, team: MPI.Intracomm | None, problem: Problem) -> list[StepSample]:
    """Return what one step took each rank of the team. Collective over `comm`; ranks outside the team sleep."""
    mine: StepSample | None = None
    with agree(comm):
        try:
            if team is not None:
                mine = problem.step(team)
        finally:
            wait_quietly(comm)
    return [found for found in gather_objects(comm, mine) if found is not None]


def _say(comm: MPI.Intracomm, text: str) -> None:
    if comm.Get_rank() == 0:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)
