"""Rates and batches by step."""

import numpy as np
import pytest

from hpcdistill.config import parse_config
from hpcdistill.errors import ConfigError
from hpcdistill.methods.kip.schedule import Schedule, steps_within


def schedule(*settings):
    kip = parse_config("", [f"kip.{setting}" for setting in settings]).kip
    return Schedule(kip, kip.steps)


def test_constant():
    constant = schedule("batch=70", "steps=5")
    assert [constant.rate(step) for step in (0, 3, 99)] == [1, 1, 1]
    assert [constant.batch(step) for step in (0, 3, 99)] == [70, 70, 70]
    assert constant.kip.is_constant


def test_cosine_falls_from_one_to_nearly_none():
    cosine = schedule("schedule=cosine", "steps=100")
    rates = [cosine.rate(step) for step in range(101)]
    assert rates[0] == 1
    assert rates[50] == pytest.approx(0.5)
    assert 0 < rates[99] < 0.001
    assert rates[100] == 0  # of an update that is not made
    assert (np.diff(rates) < 0).all()
    assert not cosine.kip.is_constant


def test_warmup_rises_to_the_full_rate():
    assert [schedule("warmup=4", "steps=9").rate(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_the_batch_grows_geometrically():
    growing = schedule("batch=100", "last_batch=1600", "steps=5")
    assert [growing.batch(step) for step in range(6)] == [100, 200, 400, 800, 1600, 1600]
    assert growing.targets(0) == pytest.approx(5 * 1500 / np.log(16))
    assert schedule("batch=7", "steps=5").targets(2) == 21
    assert not growing.kip.is_constant
    assert schedule("batch=100", "last_batch=200", "steps=1").batch(0) == 100


def test_all_images_do_not_grow():
    with pytest.raises(ConfigError, match=r"kip.last_batch needs a kip.batch"):
        schedule("batch=0", "last_batch=50")


@pytest.mark.parametrize(("share", "steps", "which"), [
    (0.0, 10, []), (0.3, 10, [8, 9, 10]), (1.0, 3, [1, 2, 3]), (0.01, 10, []), (0.5, 0, []),
])  # fmt: skip
def test_which_supports_are_averaged(share, steps, which):
    averages = Schedule(schedule(f"average={share}").kip, steps).averages
    assert [step for step in range(1, steps + 1) if averages(step)] == which


def test_what_more_steps_change():
    longer = schedule("schedule=cosine", "batch=100", "last_batch=400", "steps=9")
    shorter = schedule("schedule=cosine", "batch=100", "last_batch=400", "steps=5")
    assert longer.change(shorter, 5) == (
        "from step 5 on the schedule is that of 9 steps in all, no longer of 5: rates 0% → 41% of the full ones, "
        "batch 400 → 238"
    )
    assert longer.change(longer, 5) == ""
    averaged = schedule("average=0.5", "steps=8"), schedule("average=0.5", "steps=4")
    assert averaged[0].change(averaged[1], 4).endswith("rates 100% → 100% of the full ones, averaged from step 5 on")
    assert schedule("steps=9").change(schedule("steps=5"), 5) == ""


def test_before_their_number_is_known_steps_are_like_the_first():
    undecided = Schedule(schedule("schedule=cosine", "batch=100", "last_batch=400", "warmup=4").kip, 0)
    assert [undecided.rate(step) for step in (0, 3, 99)] == [0.25, 1, 1]
    assert [undecided.batch(step) for step in (0, 99)] == [100, 100]


@pytest.mark.parametrize("done", [0, 7, 40])
@pytest.mark.parametrize("settings", [(), ("last_batch=800",), ("batch=0",)])
def test_steps_that_fit_a_time(done, settings):
    """One more would not; counted step by step."""
    kip = schedule("batch=100", "evaluate_every=25", *settings).kip

    def seconds(steps):
        plan = Schedule(kip, steps)
        work = sum(0.01 * (plan.batch(step) or 1) for step in range(done, steps))
        return work + 3.0 * sum(step == steps or step % 25 == 0 for step in range(done + 1, steps + 1))

    steps = steps_within(kip, done, 1000.0, 0.01, 3.0)
    assert seconds(steps) == pytest.approx(1000, rel=0.02)
    assert steps_within(kip, done, -1.0, 0.01, 3.0) == done + 1
