"""How many steps a run makes that is given a time."""

import pytest

from hpcdistill.config import parse_config
from hpcdistill.methods.kip.pace import Pace


def pace(*settings, plan=None):
    return Pace(parse_config("", [f"kip.{setting}" for setting in settings]).kip, plan)


def test_without_a_time_it_is_the_number_asked_for():
    asked = pace("steps=7", plan=(3.0, 0.0))  # of a shorter run before
    assert asked.plan == (7, 0.0)
    assert (asked.is_done(6), asked.is_done(7)) == (False, True)
    assert pace("steps=0").is_done(0)
    assert asked.decide(3, 10.0) == ""


@pytest.mark.parametrize(("steps", "used", "known"), [(9, 10.0, False), (10, 10.0, True), (2, 360.0, False),
                                                      (3, 35.0, False), (3, 36.0, True)])  # fmt: skip
def test_enough_is_known_after_ten_steps_or_a_hundredth_of_the_time(steps, used, known):
    given = pace("hours=1", "batch=100")
    for _ in range(steps):
        given.note_step(2.0, 100)
    assert bool(given.decide(steps, used)) == known
    assert given.is_decided == known
    assert not given.is_done(steps)


def test_the_plan_fills_the_time_with_steps_and_evaluations():
    """0.97 hours without 100 seconds, at 2 seconds a step and 12 an evaluation every 20 steps."""
    given = pace("hours=1", "batch=100", "evaluate_every=20")
    given.note_evaluation(12.0)
    for seconds in [30.0, *[2.0] * 10]:  # the first one is slow
        given.note_step(seconds, 100)
    text = given.decide(11, 100.0)
    steps, hours = given.plan
    assert hours == 1
    assert 2.0 * (steps - 11) + 12 * (steps - 11) / 20 == pytest.approx(0.97 * 3600 - 100, abs=25)
    assert text.startswith(f"{steps} steps in the 1:00 h given (2 s a step at first; evaluations take 23% of it: raise")
    assert given.is_done(steps)
    assert pace("hours=1", plan=given.plan).plan == given.plan
    assert pace("hours=2", plan=given.plan).plan == (0, 2.0)
    assert pace("steps=9", plan=given.plan).plan == (9, 0.0)


def test_a_time_that_is_over():
    given = pace("hours=1", "batch=100")
    for _ in range(10):
        given.note_step(2.0, 100)
    assert given.decide(10, 3590.0) == "the 1:00 h given are over: 59:50 min are gone"
    assert given.plan == (10, 1.0)
    assert given.is_done(10)


def test_the_plan_is_corrected_by_what_steps_take_later():
    """Half a second more a step, for checkpoints, and evaluations that were known."""
    given = pace("hours=1", "batch=100", "evaluate_every=100")
    given.note_evaluation(10.0)
    for _ in range(10):
        given.note_step(1.0, 100)
    given.decide(10, 30.0)
    before, used, texts = given.plan[0], 30.0, []
    for step in range(11, 10000):
        used += 1.5
        if step % 100 == 1:
            used += 10.0
            given.note_evaluation(10.0)
        if text := given.decide(step, used):
            texts.append(text)
        if given.is_done(step):
            break
    assert 0.94 * 3600 < used < 3600
    assert texts[0].startswith(f"{int(given.plan[0])} steps instead of {before} in the 1:00 h given (")
    assert "1.5 s a step" in texts[0]
    assert len(texts) == 1  # what follows is as was seen then


def test_a_resumed_run_does_not_count_what_was_before():
    config = parse_config("", ["kip.hours=1", "kip.batch=100"]).kip
    resumed = Pace(config, (1000, 1.0), 500, 1500.0)
    assert resumed.decide(501, 1503.0) == ""
    text = resumed.decide(720, 2160.0)
    assert text.startswith("1164 steps instead of 1000 in the 1:00 h given (22:12 min are left, 3 s a step)")
