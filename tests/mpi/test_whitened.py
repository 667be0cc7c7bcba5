"""Images whitened once: the same as batch by batch, and only where it pays and fits."""

import numpy as np
import pytest

from hpcdistill.config import parse_config
from hpcdistill.progress import Reporter
from hpcdistill.run import whitened
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.whitened import keep_whitened

SETTINGS = ["data.name=digits", "kernel.architecture=FC1", "preprocess.zca=true", "kip.batch=100", "kip.steps=20"]


def kept(comm, *settings):
    plain = load_experiment(comm, parse_config("", [*SETTINGS, *settings]), Reporter(False))
    return plain, keep_whitened(plain)


def test_targets_are_the_same(comm, monkeypatch):
    monkeypatch.setattr(whitened, "_CHUNK", 100)
    plain, once = kept(comm)
    assert set(once.whitened) == {"train", "test"}
    for name in ("batch_targets", "test_targets"):
        steps = (3, 100) if name == "batch_targets" else ()
        (x, y), (again_x, again_y) = (getattr(one, name)(*steps).fetch(10, 60) for one in (plain, once))
        np.testing.assert_allclose(again_x, x, rtol=0, atol=1e-12)
        np.testing.assert_array_equal(again_y, y)
    with pytest.raises(ValueError, match="read-only"):
        once.whitened["train"][0] = 0
    np.testing.assert_array_equal(once.whitened["train"], comm.bcast(once.whitened["train"]))


@pytest.mark.parametrize(("setting", "names"), [
    ("augment.flip=true", {"test"}),
    ("kip.steps=5", {"test"}),
    ("preprocess.zca=false", set()),
])  # fmt: skip
def test_where_it_does_not_pay_nothing_is_kept(comm, setting, names):
    assert set(kept(comm, setting)[1].whitened) == names


def test_what_does_not_fit_is_not_kept(comm, monkeypatch):
    images = load_experiment(comm, parse_config("", SETTINGS), Reporter(False)).dataset.train.images
    monkeypatch.setattr(whitened, "available_bytes", lambda: 4 * 8 * images.size - 1)
    assert set(kept(comm)[1].whitened) == {"test"}
