"""The papers' tables: files that are up to date, runs that can be made, and figures collected from checkpoints."""

import runpy
from pathlib import Path

import h5py
import numpy as np
import pytest

from hpcdistill.config import parse_config
from hpcdistill.data.registry import KNOWN
from hpcdistill.errors import CheckpointError, ConfigError
from hpcdistill.io.checkpoint import SCHEMA_VERSION
from hpcdistill.paper.cells import cells, cells_of, tables
from hpcdistill.paper.collect import cell_folder, collect

FOLDER = Path(__file__).parents[2] / "jobs/paper"
CELL = next(cell for cell in cells() if cell.name == "mnist-convnet-1" and cell.row.table == "kip-convnet")


def test_files_are_those_of_the_tables():
    wanted = runpy.run_path(str(FOLDER / "generate.py"))["contents"]()
    assert {str(path.relative_to(FOLDER)): path.read_text() for path in FOLDER.glob("*/*.toml")} == wanted


def test_every_cell_is_a_run_of_its_own():
    assert len({(cell.row.table, cell.name) for cell in cells()}) == len(cells())
    for cell in cells():
        config = cell.config()
        assert config.method in ("kip", "label_solve")
        assert config.data.name in KNOWN
        assert config.support.images_per_class == cell.images_per_class
        assert 0 < cell.published < 100
    assert {cell.row.table for cell in cells()} == set(tables())


def test_figures_are_those_of_their_cell():
    cell = next(cell for cell in cells_of("kip-convnet") if cell.name == "cifar-10-convnet-zca-10")
    assert (cell.published, cell.also) == (75.6, {"draft": 75.5, "DC": 44.9, "DSA": 52.1})
    with pytest.raises(ConfigError, match="Valid: label-solve, kip-convnet"):
        cells_of("nothing")


def save(folder, name, accuracies, step, *settings):
    """Write what is collected of a checkpoint."""
    config = parse_config(CELL.to_toml(), list(settings))
    (folder / name).mkdir(parents=True)
    with h5py.File(folder / name / "latest.h5", "w") as file:
        file.attrs.update(schema_version=SCHEMA_VERSION, config=config.to_toml(), step=step, complete=True)
        for name in ("step", "loss", "train_accuracy", "validation_accuracy", "test_accuracy", "seconds"):
            file[f"history/{name}"] = np.array(accuracies)


def test_runs_are_collected_with_what_they_do_differently(tmp_path):
    folder = cell_folder(tmp_path, CELL)
    assert collect(tmp_path, CELL).mean is None
    save(folder, "seed=0", [0.5, 0.96, np.nan], 300, "kip.batch=1000", "kip.steps=300")
    save(folder, "seed=1", [0.98], 10000, "seed=1", "checkpoint.every=7", "kip.patience=3", "kernel.backend=native")
    save(folder, "seed=2", [np.nan], 0, "seed=2")
    reached = collect(tmp_path, CELL)
    assert reached.accuracies == pytest.approx((96.0, 98.0))
    assert (reached.mean, reached.spread) == (pytest.approx(97), pytest.approx(2**0.5))
    assert reached.differences == ("kip.batch=1000 (5000)", "300 steps (10000)")


def test_a_run_of_another_cell_is_refused(tmp_path):
    save(cell_folder(tmp_path, CELL), "seed=0", [0.5], 3, "kernel.architecture=FC1")
    with pytest.raises(CheckpointError, match="is no run of kip-convnet/mnist-convnet-1: kernel.architecture='FC1'"):
        collect(tmp_path, CELL)
