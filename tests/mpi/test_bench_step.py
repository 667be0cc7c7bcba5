"""Measured steps: what is counted, on which ranks, and that the meters change nothing."""

import dataclasses
import math

import numpy as np
import pytest

from hpcdistill.bench.meters import Clock, TimedBackend, timed_kernels
from hpcdistill.bench.step import CLASSES, _sample, make_problem, measure_steps, rank_counts
from hpcdistill.config import parse_config
from hpcdistill.errors import NotFiniteError
from hpcdistill.methods.kip.step import kip_gradient
from hpcdistill.mpi import collectives
from hpcdistill.mpi.traffic import counted
from hpcdistill.run.experiment import choose_kernels

SHAPE, TARGETS = (4, 5, 2), 30
PIXELS = math.prod(SHAPE)


def config(**settings):
    wanted = {"kernel.architecture": "FC1", "kip.batch": TARGETS, "solve.reg": 1e-3} | settings
    return parse_config("", [f"{key}={value}" for key, value in wanted.items()])


@pytest.fixture(scope="module")
def problem():
    return make_problem(config(), choose_kernels(config(), SHAPE), SHAPE, 7)


@pytest.mark.parametrize(
    ("size", "counts"), [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 4]), (12, [1, 2, 4, 8, 12])]
)
def test_powers_of_two_and_all(size, counts):
    assert rank_counts(size) == counts


def test_rows_name_what_was_measured_and_count_what_was_sent(comm):
    rows, rounds = measure_steps(comm, config(), SHAPE, (5, 9), 2, threads=3)
    counts = rank_counts(comm.Get_size())
    assert [(row["images"], row["ranks"]) for row in rows] == [(n, ranks) for n in (5, 9) for ranks in counts]
    assert [(r["images"], r["ranks"], len(r["seconds"])) for r in rounds] == [
        (n, ranks, 2) for n in (5, 9) for ranks in counts
    ]
    for row in rows:
        assert set(row) == {"images", "targets", "architecture", "shape", "backend", "precision", "threads", "device",
                            "date", "ranks", "seconds_per_step", "speed_up", "kernel_share", "collectives"}  # fmt: skip
        assert (row["targets"], row["shape"], row["backend"], row["threads"]) == (TARGETS, "4x5x2", "fc", 3)
        assert 0 < row["kernel_share"] <= 1
        check_traffic(row["collectives"], row["images"], row["ranks"])


def check_traffic(traffic, n, ranks):
    """K_ss, K_tsᵀR with loss, hits and slope, the image gradient; support, temperature, moments, three int32 counts."""
    arrays = {
        "Allreduce": {"calls": 3, "bytes": 8 * (n * n + (n * CLASSES + 3) + n * PIXELS)},
        "Bcast": {"calls": 12, "bytes": 8 * (3 * n * (PIXELS + CLASSES) + 3) + 3 * 4},
    }
    small = {"allreduce": {"calls": 6, "bytes": 6 * 8}, "bcast": {"calls": 1, "bytes": 4}}
    assert traffic == (arrays | small if ranks > 1 else {})


def test_meters_change_no_result(comm, problem):
    clock = Clock()
    with counted():
        metered = kip_gradient(comm, timed_kernels(problem.kernels, clock), problem.state, problem.targets, config())
    plain = kip_gradient(comm, problem.kernels, problem.state, problem.targets, config())
    np.testing.assert_array_equal(metered.images, plain.images)
    np.testing.assert_array_equal(metered.labels, plain.labels)
    assert clock.seconds > 0


def test_every_kernel_call_is_timed(monkeypatch, problem):
    ticks = iter(range(100))
    monkeypatch.setattr("hpcdistill.bench.meters.time.perf_counter", lambda: float(next(ticks)))
    clock = Clock()
    backend = TimedBackend(problem.kernels.ss, clock)
    handle = backend.prepare(problem.state.x_s)
    assert clock.seconds == 1
    block = backend.block(handle, handle)
    assert clock.seconds == 2
    backend.block_vjp(handle, handle, block)
    assert clock.seconds == 3
    sweep = backend.sweep(handle)
    sweep.block(handle)
    sweep.add(block)
    sweep.finish()
    assert clock.seconds == 7
    assert (backend.name, backend.dtype) == (problem.kernels.ss.name, problem.kernels.ss.dtype)


@pytest.mark.parametrize(("precision", "same"), [("float64", True), ("mixed", False)])
def test_one_backend_for_both_kernels_stays_one(precision, same):
    kernels = timed_kernels(choose_kernels(config(**{"kernel.precision": precision}), SHAPE), Clock())
    assert (kernels.ss is kernels.ts) == same


def test_an_error_of_the_first_ranks_reaches_the_ranks_that_wait(comm, problem):
    far = dataclasses.replace(problem, state=dataclasses.replace(problem.state, y_s=problem.state.y_s * 1e200))
    team = collectives.first_ranks(comm, 1)
    with pytest.raises(NotFiniteError, match="not finite"), np.errstate(all="ignore"):
        _sample(comm, team, far)
    assert [len(_sample(comm, t, problem)) for t in (team, comm)] == [1, comm.Get_size()]
    if team is not None:
        team.Free()


def test_the_first_ranks_are_the_first(comm):
    for count in rank_counts(comm.Get_size()):
        team = collectives.first_ranks(comm, count)
        assert (team is not None) == (comm.Get_rank() < count)
        if team is not None:
            assert (team.Get_rank(), team.Get_size()) == (comm.Get_rank(), count)
            team.Free()


def test_waiting_quietly_waits_for_all(comm):
    last = comm.Get_size() - 1
    arrived = np.zeros(1)
    if comm.Get_rank() == last:
        collectives.wait_quietly(comm, 0)
    else:
        collectives.wait_quietly(comm)
    arrived[0] = 1
    assert collectives.sum_array(comm, arrived)[0] == comm.Get_size()
    assert collectives.gather_objects(comm, comm.Get_rank()) == list(range(comm.Get_size()))
