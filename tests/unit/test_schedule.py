"""Rates and batches by step."""

import numpy as np
import pytest

from hpcdistill.config import parse_config
from hpcdistill.distill.schedule import Schedule
from hpcdistill.errors import ConfigError


def schedule(*settings):
    return Schedule(parse_config("", [f"kip.{setting}" for setting in settings]).kip)


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
    assert growing.targets(5) == 3100
    assert not growing.kip.is_constant
    assert schedule("batch=100", "last_batch=50", "steps=1").batch(0) == 100


def test_all_images_do_not_grow():
    with pytest.raises(ConfigError, match=r"kip.last_batch needs a kip.batch"):
        schedule("batch=0", "last_batch=50")


def test_what_more_steps_change():
    longer = schedule("schedule=cosine", "batch=100", "last_batch=400", "steps=9")
    shorter = schedule("schedule=cosine", "batch=100", "last_batch=400", "steps=5")
    assert longer.change(shorter.kip, 5) == (
        "from step 5 on the schedule is that of 9 steps in all, no longer of 5: rates 0% → 41% of the full ones, "
        "batch 400 → 238"
    )
    assert longer.change(longer.kip, 5) == ""
    assert schedule("steps=9").change(schedule("steps=5").kip, 5) == ""
