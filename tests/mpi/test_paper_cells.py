"""Every cell of the papers' tables runs: on made-up data of its shape and number of classes, with a quick kernel."""

import numpy as np
import pytest

from hpcdistill.attempt import StopSignal
from hpcdistill.config import parse_config
from hpcdistill.data.registry import known_dataset
from hpcdistill.io.checkpoint import read_checkpoint
from hpcdistill.mpi.collectives import on_root
from hpcdistill.paper.cells import cells
from hpcdistill.run.execute import execute

SHAPES = {"mnist": (28, 28), "fashion-mnist": (28, 28), "svhn": (32, 32, 3), "cifar-10": (32, 32, 3),
          "cifar-100": (32, 32, 3)}  # fmt: skip


def make_data(path, dataset, images_per_class):
    """Write random images, some more than the support has."""
    rng, classes = np.random.default_rng(0), len(known_dataset(dataset).class_names)
    arrays = {}
    for prefix, per_class in (("", images_per_class + 2), ("test_", 1)):
        labels = np.arange(classes * per_class) % classes
        images = rng.integers(0, 256, (len(labels), *SHAPES[dataset]), dtype=np.uint8)
        arrays |= {f"{prefix}images": images, f"{prefix}labels": labels}
    np.savez(path, **arrays)


def unlike(cell):
    """What tells a cell from others once its kernel is a quick one."""
    row = cell.row
    return cell.method, row.dataset, cell.images_per_class, row.labels, row.augment, row.precision, row.b_std


#: A cell of each kind.
CELLS = {unlike(cell): cell for cell in cells()}.values()


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.row.table}/{cell.name}")
def test_two_steps(comm, shared_tmp_path, cell):
    if comm.Get_size() != 2:
        pytest.skip("two ranks tell")
    path = shared_tmp_path / "data.npz"
    on_root(comm, lambda: make_data(path, cell.row.dataset, cell.images_per_class))
    quick = ["kernel.architecture=FC1", "preprocess.zca=false", "kip.batch=0", "kip.steps=2", "krr.draws=2"]
    config = parse_config(cell.to_toml(), [f"data.name={path}", *quick])
    with StopSignal() as asked:
        execute(comm, config, shared_tmp_path / "out", asked, resume=False)
    found = read_checkpoint(shared_tmp_path / "out/latest.h5")
    classes = len(known_dataset(cell.row.dataset).class_names)
    assert found.arrays["support/labels"].shape == (classes * cell.images_per_class, classes)
    assert np.isfinite(found.arrays["support/labels"]).all()
