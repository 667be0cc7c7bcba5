"""What a run has left is loaded, predicts as the run did, and is trained on."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from launch import run, write_config
from own_files import read_own

import hpcdistill
from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import CheckpointError, InputError


@pytest.mark.parametrize("precision", ["float64", "mixed"])
@pytest.mark.parametrize("zca", [False, True])
def test_a_loaded_set_predicts_as_the_run_did(tmp_path, precision, zca):
    config = write_config(tmp_path / "c.toml", preprocess={"zca": zca}, data={"train_size": 300},
                          kernel={"architecture": "conv relu pool flatten dense", "precision": precision})  # fmt: skip
    assert run("run", config, "--output", tmp_path / "out").code == 0
    found = hpcdistill.load(tmp_path / "out/latest.h5")
    stored = read_own(tmp_path / "out/latest.h5").arrays
    test = load_dataset("digits").test
    accuracy = (found.predict(test.images).argmax(axis=1) == test.labels).mean()
    assert accuracy == stored["history/test_accuracy"][-1]
    assert (found.step, found.network, found.kind) == (4, "conv relu pool flatten dense", "ntk")
    assert (len(found.class_names), found.images_display.dtype) == (10, np.uint8)
    np.testing.assert_array_equal(found.labels, stored["support/labels"])
    np.testing.assert_array_equal(found.history["test_accuracy"], stored["history/test_accuracy"])
    found.save(tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as saved:
        np.testing.assert_array_equal(saved["images_preprocessed"], found.images)
    with pytest.raises(InputError, match=r"Images must be \(n, 8, 8, 1\), channels last"):
        found.predict(test.images[:, :7])


def test_what_is_no_checkpoint(finished_run, tmp_path):
    with pytest.raises(InputError, match="is a checkpoint"):
        hpcdistill.load(finished_run / "out/latest.h5", "data.name=digits")
    (tmp_path / "a.h5").write_bytes(b"nothing")
    with pytest.raises(CheckpointError, match="cannot be read as HDF5"):
        hpcdistill.load(tmp_path / "a.h5")


def test_arrays_are_distilled_as_files_are(tmp_path):
    """The same set as `run` leaves, bit for bit, and the example in its documentation."""
    digits = load_dataset("digits")
    np.savez(tmp_path / "own.npz", images=digits.train.images[:300], labels=digits.train.labels[:300],
             test_images=digits.test.images, test_labels=digits.test.labels)  # fmt: skip
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz"}, preprocess={"zca": True})
    assert run("run", config, "--output", tmp_path / "out").code == 0
    program = f"""
import doctest, hpcdistill, numpy as np
data = np.load({str(tmp_path / "own.npz")!r})
settings = {{"kernel": {{"architecture": "FC1"}}, "preprocess.zca": True,
            "kip": {{"steps": 4, "batch": 100}}, "kip.evaluate_every": 2}}
told = []
found = hpcdistill.distill(data["images"], data["labels"], test=(data["test_images"], data["test_labels"]),
                           config=settings, callback=lambda step, figures: told.append((step, figures["loss"])))
found.save({str(tmp_path / "set.npz")!r})
assert found.source is None and told == list(zip([1, 2, 3, 4], found.history["loss"][1:])), told
assert (found.predict(data["test_images"]).argmax(1) == data["test_labels"]).mean() == found.history["test_accuracy"][4]
assert doctest.run_docstring_examples(hpcdistill.distill, {{}}) is None"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    hpcdistill.load(tmp_path / "out/latest.h5").save(tmp_path / "own_run.npz")
    with np.load(tmp_path / "set.npz") as one, np.load(tmp_path / "own_run.npz") as other:
        assert sorted(one.files) == sorted(other.files)
        assert {"zca_matrix", "images_preprocessed"} <= set(one.files)
        differing = [name for name in one.files if name not in ("config", "history_seconds")
                     and one[name].tobytes() != other[name].tobytes()]  # fmt: skip
        assert differing == []


@pytest.mark.parametrize("zca", [False, True])
def test_what_is_saved_is_loaded_without_anything_else(tmp_path, monkeypatch, zca):
    config = write_config(tmp_path / "c.toml", preprocess={"zca": zca}, data={"train_size": 300})
    assert run("run", config, "--output", tmp_path / "out").code == 0
    found = hpcdistill.load(tmp_path / "out/latest.h5")
    found.save(tmp_path / "set.npz")
    raw = load_dataset("digits").test.images[:50]
    for again in (hpcdistill.load(tmp_path / "set.npz"), pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        np.testing.assert_array_equal(again.predict(raw), found.predict(raw))
        assert repr(again) == repr(found)
        np.testing.assert_array_equal(again.history["loss"], found.history["loss"])
    hpcdistill.load(tmp_path / "set.npz").save(tmp_path / "copy.npz")
    with np.load(tmp_path / "set.npz") as one, np.load(tmp_path / "copy.npz") as other:
        assert {name: one[name].tobytes() for name in one} == {name: other[name].tobytes() for name in other}
    found.save(tmp_path / "set.pt")  # in float32, and without the ZCA matrix
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    np.testing.assert_allclose(hpcdistill.load(tmp_path / "set.pt").predict(raw), found.predict(raw), atol=1e-4)
    with pytest.raises(InputError, match="saved as .npz or .pt"):
        found.save(tmp_path / "set.txt")
    with pytest.raises(InputError, match="Settings are texts"):
        hpcdistill.load(tmp_path / "set.npz", {"data.name": "digits"})
    with pytest.raises(InputError, match=r"channels last, and numbers; these are complex128"):
        found.predict(raw * 1j)
    assert found != again
    assert len({found, again}) == 2


def test_loading_needs_neither_mpi_nor_jax(finished_run):
    program = f"""
import sys, hpcdistill
found = hpcdistill.load({str(finished_run / "out/latest.h5")!r})
found.predict(found.images_display)
print([name for name in ("mpi4py.MPI", "jax") if name in sys.modules])"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_network_is_trained_on_it(finished_run):
    torch = pytest.importorskip("torch")
    images, labels = hpcdistill.load(finished_run / "out/latest.h5").torch()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    loss = torch.nn.functional.mse_loss(model(images), labels)
    loss.backward()
    assert (images.shape, labels.shape) == ((10, 1, 8, 8), (10, 10))
