"""Label Solve over all ranks at once gives the labels of the reduction, and NumPy's."""

import numpy as np
import pytest
from test_all_images import Kept

from hpcdistill.attempt import StopSignal
from hpcdistill.config import parse_config
from hpcdistill.errors import NumericalError
from hpcdistill.learning import kernel_operator
from hpcdistill.progress import Reporter
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.loop import run_method
from hpcdistill.run.stop import Boundary

COMMON = ["method=label_solve", "support.images_per_class=4", "kernel.architecture=FC1", "kernel.precision=float64",
          "data.train_size=300", "data.test_size=100", "solve.reg=1e-3"]  # fmt: skip


def run(comm, *settings, resumed=None):
    experiment = load_experiment(comm, parse_config("", [*COMMON, *settings]), Reporter(False))
    store = Kept()
    run_method(experiment, store, resumed, Boundary(StopSignal(), lambda text: None))
    return experiment, store.newest


def test_the_labels_are_those_of_the_reduction(comm, monkeypatch):
    monkeypatch.setattr(kernel_operator, "TILE", 16)
    _, reduced = run(comm, "label_solve.method=qr")
    experiment, large = run(comm, "label_solve.method=scalapack")
    labels = [one.arrays["support/labels"] for one in (large, reduced)]
    np.testing.assert_allclose(*labels, rtol=0, atol=1e-9 * np.abs(labels[1]).max())
    for name in ("loss", "test_accuracy"):
        assert large.arrays[f"history/{name}"][-1] == pytest.approx(reduced.arrays[f"history/{name}"][-1], rel=1e-10)
    targets = experiment.train_targets(experiment.pool.indices)
    backend = experiment.kernels.ts
    k_ts = backend.block(backend.prepare(targets.fetch(0, 300)[0]), backend.prepare(large.arrays["support/images"]))
    diagonal = np.abs(np.diag(np.linalg.qr(k_ts)[1]))
    assert large.arrays["label_solve/condition"][0] == pytest.approx(diagonal.max() / diagonal.min(), rel=1e-6)
    assert large.arrays["label_solve/condition"][0] <= np.linalg.cond(k_ts)


def test_it_is_known_to_be_finished(comm):
    _, large = run(comm, "label_solve.method=scalapack")
    assert run(comm, "label_solve.method=scalapack", resumed=large)[1] is None


def test_dependent_images_are_an_error(comm):
    """A linear network's kernel has the rank of the pixels."""
    with pytest.raises(NumericalError, match="no full rank.*draw others with seed"):
        run(comm, "label_solve.method=scalapack", "kernel.architecture=flatten dense", "support.images_per_class=10")
