"""What is checked of a driver that another package brings, and of what it hands over to be saved."""

from dataclasses import replace

import numpy as np
import pytest

from hpcdistill.config import Config
from hpcdistill.errors import EnvironmentSetupError, NotFiniteError
from hpcdistill.learning.history import History
from hpcdistill.method import Method
from hpcdistill.run.driver import Driver, Snapshot
from hpcdistill.run.loop import driver_class

GOOD = Snapshot(3, np.zeros((4, 2, 2, 1)), np.zeros((4, 10)), History(), np.arange(4), np.zeros((4, 2, 2, 1), np.uint8),
                {"toy/loss": np.zeros(1)})  # fmt: skip


def check(**changed):
    replace(GOOD, **changed).check("toy", (2, 2, 1), 10)


def test_a_good_snapshot():
    check()
    check(arrays={})


@pytest.mark.parametrize(("changed", "message"), [
    ({"images": np.zeros((4, 3, 2, 1))}, r"images must be \(4, 2, 2, 1\) of float64, not \(4, 3, 2, 1\) of float64"),
    ({"images": np.zeros((4, 2, 2, 1), int)}, "images must be"),
    ({"labels": np.zeros((4, 9))}, r"labels must be \(4, 10\)"),
    ({"labels": [[0.0]]}, r"labels must be .*, not \[\[0.0\]\]"),
    ({"source_index": np.zeros(4)}, r"source_index must be \(4,\) of int64"),
    ({"initial_display": np.zeros((4, 2, 2, 1))}, "initial_display must be .* of uint8"),
    ({"arrays": {"support/labels": np.zeros(1)}}, "arrays\\['support/labels'\\] must have a path of its own"),
    ({"arrays": {"loss": np.zeros(1)}}, "such as 'toy/loss'"),
    ({"arrays": {"toy/loss": 3.0}}, "must be an array of numbers, not 3.0"),
    ({"arrays": {"toy/words": np.array(["a"])}}, "must be an array of numbers"),
])  # fmt: skip
def test_what_no_checkpoint_can_hold(changed, message):
    with pytest.raises(EnvironmentSetupError, match=f"method 'toy': of its driver's snapshot .*{message}"):
        check(**changed)


@pytest.mark.parametrize("name", ["images", "labels"])
def test_what_is_not_finite(name):
    with pytest.raises(NotFiniteError, match=f"{name} of the support are not finite at step 3"):
        check(**{name: np.full(getattr(GOOD, name).shape, np.nan)})


class Unfinished(Driver):
    step = 0


@pytest.mark.parametrize(("name", "message"), [
    ("Unfinished", "test_driver:Unfinished lacks moments, snapshot"),
    ("GOOD", "test_driver:GOOD is no hpcdistill.run.driver.Driver"),
    ("NOTHING", "test_driver:NOTHING.* cannot be imported"),
])  # fmt: skip
def test_what_is_no_driver(name, message):
    method = Method()
    method.name, method.driver = "toy", f"test_driver:{name}"
    with pytest.raises(EnvironmentSetupError, match=f"method 'toy': {message}"):
        driver_class(method, Config())
