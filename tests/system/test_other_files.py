"""What is exported is read back, and pictures in a folder become a distilled set, pictures again, and a network."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
from launch import run, succeed, write_config
from own_files import read_own
from PIL import Image
from refused import check_refused
from sklearn.datasets import load_digits

from hpcdistill.data.readers import load_dataset
from hpcdistill.torch_file import read_torch


def accuracy(text):
    return float(re.search(r"test (?:accuracy )?([\d.]+)%", text)[1])


def measured(config, path, output):
    """Test accuracy in percent of what a run of no steps starts from."""
    return accuracy(succeed("run", config, "--output", output, f"--set=support.init={path}", "--set=kip.steps=0"))


@pytest.mark.parametrize(("form", "error"), [("npz", 0.0), ("torch", 0.0), ("images", 1.0)])
def test_an_export_is_read_back_to_the_same_accuracy(finished_run, tmp_path, form, error):
    """Pictures have 8 bits only."""
    checkpoint = finished_run / "out/latest.h5"
    output = tmp_path / {"npz": "set.npz", "torch": "set.pt", "images": "set"}[form]
    assert f"wrote {output}" in succeed("export", checkpoint, "--format", form, "--output", output)
    own = 100 * read_own(checkpoint).arrays["history/test_accuracy"][-1]
    found = measured(finished_run / "c.toml", f"{output}{'/' * output.is_dir()}", tmp_path / "again")
    assert abs(found - own) <= error + 0.005  # as printed


def test_a_set_made_on_a_gpu_is_evaluated_where_there_is_none(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    checkpoint = finished_run / "out/latest.h5"
    succeed("export", checkpoint, "--output", tmp_path / "set.npz")
    with np.load(tmp_path / "set.npz") as found:
        arrays = dict(found)
    arrays["config"] = np.array(re.sub('backend = "[a-z]+"', 'backend = "cuda"', str(arrays["config"])))
    np.savez(tmp_path / "set.npz", **arrays)
    told = succeed("evaluate", tmp_path / "set.npz")
    assert abs(accuracy(told) - 100 * read_own(checkpoint).arrays["history/test_accuracy"][-1]) <= 0.005
    asked = ["evaluate", tmp_path / "set.npz", "--set=kernel.backend=cuda"]
    check_refused(asked, ["cannot serve"], 0, tmp_path)


def test_the_papers_released_layout(finished_run, tmp_path):
    """`images` and `labels` in the space that kernels see: the same figure to the last digit."""
    arrays = read_own(finished_run / "out/latest.h5").arrays
    np.savez(tmp_path / "set.npz", images=arrays["support/images"], labels=arrays["support/labels"])
    measured(finished_run / "c.toml", tmp_path / "set.npz", tmp_path / "again")
    again = read_own(tmp_path / "again/latest.h5").arrays
    assert again["history/test_accuracy"][-1] == arrays["history/test_accuracy"][-1]
    np.testing.assert_array_equal(again["support/labels"], arrays["support/labels"])


def test_every_command_takes_sets_of_others(finished_run, tmp_path, monkeypatch):
    """The released layout, once as it comes, and once as a folder of pictures."""
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    own = read_own(finished_run / "out/latest.h5").arrays
    theirs = tmp_path / "it's, theirs.npz"
    np.savez(theirs, images=own["support/images"], labels=own["support/labels"])
    settings = ["--set", "data.name=digits", "--set", "kernel.architecture=FC1"]
    told = succeed("evaluate", theirs, *settings, ranks=2)
    (kept,) = (tmp_path / "data/sets").glob("*/latest.h5")
    assert f"{theirs}: its checkpoint is {kept}" in told
    assert "are taken to be preprocessed" in told
    assert f"test accuracy {own['history/test_accuracy'][-1]:.2%}" in told
    made = kept.stat().st_mtime_ns
    assert succeed("evaluate", theirs, *settings) == told
    assert kept.stat().st_mtime_ns == made
    assert "/support/images                 float64  (10, 8, 8, 1)" in succeed("inspect", theirs, *settings)
    assert str(tmp_path / "it's, theirs.pt") in succeed("export", theirs, "--format", "torch", *settings)
    tensors = read_torch(tmp_path / "it's, theirs.pt")
    np.testing.assert_array_equal(tensors["images_display"][:, 0], own["support/images_display"][..., 0])
    succeed("export", theirs, "--format", "images", *settings)
    pictures = tmp_path / "it's, theirs-images"
    assert abs(accuracy(succeed("evaluate", pictures, *settings)) - accuracy(told)) <= 1
    short = ["--width", "16", "--steps", "5", "--seeds", "1", "--natural-draws", "1"]
    assert "10 distilled images: test accuracy" in succeed("transfer", theirs, *short, *settings)


def test_no_export_takes_the_place_of_what_is_not_its_own(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    digits = load_dataset("digits")
    np.savez(tmp_path / "own.npz", images=digits.train.images, labels=digits.train.labels)
    np.savez(tmp_path / "set.npz", images=digits.train.images[:20], labels=digits.train.labels[:20])
    (tmp_path / "set.pt").write_bytes(b"something else")
    settings = [f"--set=data.name={tmp_path}/own.npz", "--set=kernel.architecture=FC1"]
    succeed("inspect", tmp_path / "set.npz", *settings)
    cases = [(["set.npz"], "is the distilled set"), (["set.npz", "--output", "own.npz"], "is the data set"),
             (["set.npz", "--format", "torch"], "is there already")]  # fmt: skip
    for arguments, words in cases:
        arguments = [tmp_path / word if word.endswith(".npz") else word for word in arguments]
        check_refused(["export", *arguments, *settings], [words, "--output"], 0, tmp_path)
    succeed("export", tmp_path / "set.npz", "--format", "torch", "--output", tmp_path / "set.pt", *settings)
    checkpoint = finished_run / "out/latest.h5"
    check_refused(["export", checkpoint, "--output", checkpoint], ["is the distilled set"], 0, tmp_path)


def test_a_set_is_read_anew_where_its_data_or_its_checkpoint_have_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    digits = load_dataset("digits")
    train, labels = digits.train.images, digits.train.labels
    np.savez(tmp_path / "set.npz", images=train[:20], labels=labels[:20])
    settings = [f"--set=data.name={tmp_path}/own.npz", "--set=kernel.architecture=FC1"]
    for number, images in enumerate((train, train // 2), start=1):
        np.savez(tmp_path / "own.npz", images=images, labels=labels, test_images=images[:200], test_labels=labels[:200])
        assert "other training images" not in succeed("evaluate", tmp_path / "set.npz", *settings)
        assert len(list((tmp_path / "data/sets").iterdir())) == number
    for kept in (tmp_path / "data/sets").glob("*/checkpoints/*.h5"):
        kept.write_bytes(b"")
    assert "test accuracy" in succeed("evaluate", tmp_path / "set.npz", *settings)


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system cannot be mounted")
def test_a_data_folder_that_cannot_be_written_to(tmp_path, monkeypatch):
    """What is measured is shown before it is kept, and what is to be set is named."""
    data = tmp_path / "data"
    data.mkdir()
    monkeypatch.setenv("HPCDISTILL_DATA", str(data))
    digits = load_dataset("digits")
    np.savez(tmp_path / "set.npz", images=digits.train.images[:20], labels=digits.train.labels[:20])
    arguments = ["evaluate", tmp_path / "set.npz", "--set=data.name=digits", "--set=kernel.architecture=FC1"]
    succeed("inspect", *arguments[1:])
    subprocess.run(["mount", "--bind", "-o", "ro", data, data], check=True)
    try:
        result = run(*arguments)
        assert result.code == 4
        assert "test accuracy" in result.stdout
        result = run(*arguments, "--set=data.train_size=500")
        assert result.code == 2
        assert "Set HPCDISTILL_DATA" in result.stderr
    finally:
        subprocess.run(["umount", data], check=True)


def test_an_export_of_ours_says_all_itself(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    succeed("export", finished_run / "out/latest.h5", "--output", tmp_path / "set.npz")
    own = read_own(finished_run / "out/latest.h5")
    program = f"""
import hpcdistill, numpy as np
from hpcdistill.data.readers import load_dataset
found, test = hpcdistill.load({str(tmp_path / "set.npz")!r}), load_dataset("digits").test
np.save({str(tmp_path / "images.npy")!r}, found.images)
print((found.predict(test.images).argmax(axis=1) == test.labels).mean())"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(done.stdout.splitlines()[-1]) == own.history()["test_accuracy"][-1]
    np.testing.assert_array_equal(np.load(tmp_path / "images.npy"), own.arrays["support/images"])
    assert accuracy(succeed("evaluate", tmp_path / "set.npz", "--set=data.test_size=100")) > 50


def test_what_is_missing_of_a_set_of_others_is_asked_for(finished_run, tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    np.savez(tmp_path / "set.npz", images=np.zeros((20, 8, 8)), labels=np.arange(20) % 10)
    for command, ranks in (("evaluate", 2), ("inspect", 0)):
        check_refused([command, tmp_path / "set.npz"], ["--set data.name=NAME"], ranks, tmp_path)
    wrong = [tmp_path / "set.npz", "--set=data.name=digits", "--set=kernel.architecture=VGG"]
    check_refused(["evaluate", *wrong], ["VGG", "ConvNet"], 0, tmp_path)
    np.savez(tmp_path / "odd.npz", images=np.zeros((20, 9, 8)), labels=np.arange(20) % 10)
    check_refused(["transfer", tmp_path / "odd.npz", "--set=data.name=digits"], ["(9, 8, 1)", "(8, 8, 1)"], 0, tmp_path)
    check_refused(["evaluate", tmp_path / "no.npz", "--set=data.name=digits"], ["no such file"], 0, tmp_path)
    checkpoint = finished_run / "out/latest.h5"
    check_refused(["export", checkpoint, "--set=data.name=digits"], ["is a checkpoint", "Leave out"], 0, tmp_path)
    check_refused(["inspect", finished_run / "out"], [f"{finished_run}/out/latest.h5"], 0, tmp_path)


def test_exported_pictures_and_tensors(finished_run, tmp_path):
    checkpoint = read_own(finished_run / "out/latest.h5").arrays
    succeed("export", finished_run / "out/latest.h5", "--format", "images", "--output", tmp_path / "set")
    assert sorted(path.name for path in (tmp_path / "set").iterdir()) == [*"0123456789", "labels.csv"]
    picture = np.asarray(Image.open(tmp_path / "set/3/00003.png"))
    np.testing.assert_array_equal(picture, checkpoint["support/images_display"][3, :, :, 0])
    head, *rows = (tmp_path / "set/labels.csv").read_text().splitlines()
    assert head == "file,class," + ",".join("0123456789")
    assert rows[3].startswith("3/00003.png,3,")
    np.testing.assert_array_equal(np.array(rows[3].split(",")[2:], float), checkpoint["support/labels"][3])
    arguments = ["export", finished_run / "out/latest.h5", "--format", "images", "--output", tmp_path / "set"]
    check_refused(arguments, ["is not empty", "--output"], 0, tmp_path)
    succeed("export", finished_run / "out/latest.h5", "--format", "torch", "--output", tmp_path / "set.pt")
    tensors = read_torch(tmp_path / "set.pt")
    np.testing.assert_array_equal(tensors["images"][:, 0], checkpoint["support/images"][..., 0].astype(np.float32))


def test_from_a_folder_of_pictures_to_one_and_to_a_network(tmp_path, monkeypatch):
    """From pictures to a network, in folders with splits; docs/tutorials/own-images.md runs without them."""
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path / "data"))
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images[:600], digits.target[:600], strict=True)):
        path = tmp_path / f"pictures/{'train' if number < 400 else 'test'}/digit {label}/{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15).astype(np.uint8)).resize((11, 9)).save(path)
    told = succeed("prepare", f"{tmp_path}/pictures", "--set=data.size=8", "--picture", tmp_path / "look.png")
    assert "pictures: 400 training and 200 test images of 8×8×1, uint8 0…255, 10 classes" in told
    assert Image.open(tmp_path / "look.png").width > 600
    config = write_config(tmp_path / "c.toml", data={"name": "./pictures", "size": 8}, kip={"steps": 20, "batch": 100})
    succeed("run", config, "--output", tmp_path / "out", ranks=2)
    checkpoint = read_own(tmp_path / "out/latest.h5")
    assert checkpoint.class_names() == [f"digit {k}" for k in range(10)]
    first, last = checkpoint.arrays["history/test_accuracy"][[0, -1]]
    assert last > first + 0.05
    succeed("export", tmp_path / "out/latest.h5", "--format", "images", "--output", tmp_path / "distilled")
    assert len(list((tmp_path / "distilled").glob("digit_*/*.png"))) == 10
    told = succeed("transfer", tmp_path / "out/latest.h5", "--width", "64", "--steps", "100", "--seeds", "1",
                   "--natural-draws", "1")  # fmt: skip
    assert "distilled" in told
    assert abs(measured(config, f"{tmp_path}/distilled/", tmp_path / "again") - 100 * last) <= 2
