"""The model of a step on many GPUs: limits that anybody can work out, and the measured step on one."""

import dataclasses

import pytest

from hpcdistill.cost.exchange import StepSizes, exchanged_per_step
from hpcdistill.cost.scaling import (
    Machine,
    allreduce_seconds,
    bcast_seconds,
    cholesky_seconds,
    largest_share,
    step_time,
)

MACHINE = Machine(step_entries=1e5, tile_entries=2e5, tile_gradients=1e5, flops=1e13, latency_seconds=1e-5,
                  bytes_per_second=1e9)  # fmt: skip
SIZES = StepSizes(images=500, pixels=3072, classes=10)


def test_on_one_rank_there_is_only_computing():
    time = step_time(SIZES, 5000, 1, MACHINE)
    assert (time.targets, time.messages) == (25.0, 0.0)
    assert time.support == pytest.approx((10 * 125**2) / 2e5 + 500**2 / 1e5)
    assert time.cholesky == pytest.approx(500**3 / 3 / 1e13)
    assert time.total == time.targets + time.support + time.cholesky


def test_targets_are_shared_by_all_ranks_and_tiles_by_as_many_as_there_are():
    assert step_time(SIZES, 5000, 10, MACHINE).targets == 2.5
    assert step_time(SIZES, 5000, 3, MACHINE).targets == pytest.approx(1667 * 500 / 1e5)
    assert [largest_share(500, ranks, lower=False) for ranks in (1, 4, 16, 1000)] == [250_000, 62_500, 15_625, 15_625]
    assert [largest_share(500, ranks, lower=True) for ranks in (1, 5, 10, 1000)] == [156_250, 31_250, 15_625, 15_625]


def test_all_wait_for_a_slow_rank():
    slow = step_time(SIZES, 5000, 8, dataclasses.replace(MACHINE, slowest=0.5))
    even = step_time(SIZES, 5000, 8, MACHINE)
    assert (slow.targets, slow.support, slow.messages) == (2 * even.targets, 2 * even.support, even.messages)


def test_small_sums_go_along_a_tree_and_large_ones_around_a_ring():
    assert allreduce_seconds(8, 1024, MACHINE) == pytest.approx(10 * (1e-5 + 8e-9))
    assert allreduce_seconds(1e9, 4, MACHINE) == pytest.approx(6e-5 + 1.5)
    assert bcast_seconds(8, 5, MACHINE) == pytest.approx(3 * (1e-5 + 8e-9))
    assert bcast_seconds(1e9, 8, MACHINE) == pytest.approx(1e-4 + 1.75)


def test_a_distributed_factorisation_shares_work_and_adds_messages():
    assert cholesky_seconds(3000, 1, MACHINE) == pytest.approx(9e9 / 1e13)
    quick = dataclasses.replace(MACHINE, latency_seconds=0.0, bytes_per_second=1e30)
    assert cholesky_seconds(3000, 16, quick) == pytest.approx(9e9 / 1e13 / 16)
    assert cholesky_seconds(3000, 16, MACHINE) > cholesky_seconds(3000, 16, quick)


def test_bytes_do_not_depend_on_ranks_or_targets():
    assert exchanged_per_step(SIZES, 2) == exchanged_per_step(SIZES, 1024)
    calls, n_bytes = exchanged_per_step(SIZES, 2)["Allreduce"]
    assert (calls, n_bytes) == (3, 8 * (500**2 + 5003 + 500 * 3072))
    staged = dataclasses.replace(SIZES, images=5000, is_staged=True)
    assert exchanged_per_step(staged, 2)["Allreduce"][0] == 3 + 1 + 2  # pieces of 2^23 elements
