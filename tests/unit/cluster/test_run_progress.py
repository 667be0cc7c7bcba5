import sys

import h5py
import numpy as np
import pytest
from numpy import nan

from hpcdistill.cluster.progress import RunProgress, read_progress, why_unreadable
from hpcdistill.config import parse_config
from hpcdistill.io.checkpoint import SCHEMA_VERSION


def save(folder, method, step, **columns):
    """Write what is read of the newest checkpoint of a run, with a history of two rows."""
    history = {
        "step": [0, 1],
        "loss": [nan, nan],
        "train_accuracy": [nan, nan],
        "validation_accuracy": [nan, nan],
        "test_accuracy": [nan, nan],
        "seconds": [nan, 2.5],
    }
    config = parse_config("", [f"method={method}", "kip.steps=40", "krr.draws=4"])
    with h5py.File(folder / "latest.h5", "w") as file:
        file.attrs.update(schema_version=SCHEMA_VERSION, config=config.to_toml(), step=step, complete=True)
        for name, values in (history | columns).items():
            file[f"history/{name}"] = np.array(values)


@pytest.mark.parametrize(
    ("method", "columns", "wanted"),
    [
        ("kip", {}, RunProgress("3/40", "–", "–", "2.5")),
        ("kip", {"loss": [0.5, nan], "test_accuracy": [0.25, nan]}, RunProgress("3/40", "0.50000", "25.00%", "2.5")),
        ("kip", {"validation_accuracy": [0.1, 0.2]}, RunProgress("3/40", "–", "20.00%", "2.5")),
        ("label_solve", {}, RunProgress("3", "–", "–", "2.5")),
        ("krr", {"test_accuracy": [0.1, 0.3]}, RunProgress("4/4", "–", "20.00%", "2.5")),
    ],
)
def test_figures_of_the_newest_checkpoint(tmp_path, method, columns, wanted):
    save(tmp_path, method, 3, **columns)
    assert read_progress(tmp_path) == wanted


def test_a_folder_without_checkpoints_says_nothing(tmp_path):
    assert read_progress(tmp_path) == RunProgress()
    (tmp_path / "latest.h5").write_bytes(b"no HDF5")
    assert read_progress(tmp_path) == RunProgress()


def test_a_machine_without_hdf5_says_why(tmp_path, monkeypatch):
    save(tmp_path, "kip", 3)
    assert why_unreadable() == ""
    monkeypatch.setitem(sys.modules, "h5py", None)
    assert read_progress(tmp_path) == RunProgress()
    assert "Load the modules" in why_unreadable()
