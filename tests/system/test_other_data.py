"""Data of one's own: classes of very different sizes, splits of all kinds, images of any size."""

import re

import h5py
import numpy as np
import pytest
from launch import succeed, write_config
from own_files import read_own
from refused import check_refused
from sklearn.datasets import load_digits


@pytest.fixture
def tail(tmp_path):
    """A run on digits, of which there are 100 zeros, and ever fewer of the rest, down to 3 nines."""
    digits = load_digits()
    images, labels = (digits.images * 15).astype(np.uint8), digits.target
    train = [np.flatnonzero(labels[:1200] == k)[: max(3, int(100 * 0.03 ** (k / 9)))] for k in range(10)]
    kept = np.concatenate(train)
    np.savez(tmp_path / "tail.npz", images=images[kept], labels=labels[kept],
             test_images=images[1200:1500], test_labels=labels[1200:1500])  # fmt: skip
    return write_config(tmp_path / "c.toml", data={"name": "tail.npz"}, kip={"batch": 0})


def test_a_class_smaller_than_the_support(tail, tmp_path):
    """Only where images are drawn from it."""
    arguments = ["run", tail, "--output", tmp_path / "out", "--set=support.images_per_class=5"]
    check_refused(arguments, ["class 9", "3 training images", "support.init=noise"], 2, tmp_path)
    succeed(*arguments, "--set=support.init=noise", ranks=2)
    labels = read_own(tmp_path / "out/checkpoints/step-000000.h5").arrays["support/labels"]
    assert labels.argmax(axis=1).tolist() == np.repeat(np.arange(10), 5).tolist()


def test_validation_and_batches_of_classes_of_different_sizes(tail, tmp_path):
    text = succeed("run", tail, "--output", tmp_path / "out", "--set=data.validation=50", "--set=kip.batch=100")
    assert re.search(r"classes have 3 \(\d\) to \d+ \(0\) images: a batch has 10 of each", text)
    assert "validation " in text
    text = succeed("run", tail, "--output", tmp_path / "other", "--set=kip.balance=proportional", "--set=kip.batch=100")
    assert "classes have" not in text
    supports = [read_own(tmp_path / name / "latest.h5").arrays["support/images"] for name in ("out", "other")]
    assert not np.array_equal(*supports)
    text = succeed("evaluate", tmp_path / "out/latest.h5")
    accuracy, balanced = map(float, re.search(r"test accuracy ([\d.]+)%, balanced ([\d.]+)%", text).groups())
    by_class = [float(found) for found in re.findall(r"^ +\d +([\d.]+)%", text, re.MULTILINE)]
    assert len(by_class) == 10
    assert balanced == pytest.approx(np.mean(by_class), abs=0.01)
    assert accuracy != balanced


def test_a_validation_split_of_its_own(tmp_path):
    digits = load_digits()
    images, labels = (digits.images * 15).astype(np.uint8), digits.target
    arrays = {}
    for split, (start, stop) in {"train": (0, 400), "val": (400, 600), "test": (600, 800)}.items():
        arrays |= {f"{split}_images": images[start:stop], f"{split}_labels": labels[start:stop, None]}
    np.savez(tmp_path / "own.npz", **arrays)
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz"}, kip={"patience": 5})
    text = succeed("run", config, "--output", tmp_path / "out", ranks=2)
    assert re.search(r"step 4: validation [\d.]+%  test", text)
    assert "400 training images" in text
    assert (tmp_path / "out/best.h5").exists()
    refused = ["run", config, "--output", tmp_path / "other", "--set=data.validation=50"]
    check_refused(refused, ["data.validation=50", "has a validation split of 200 images"], 2, tmp_path)


def test_a_test_split_by_seed_is_the_same_when_a_run_goes_on(tmp_path):
    digits = load_digits()
    np.savez(tmp_path / "own.npz", images=digits.images[:500], labels=digits.target[:500])
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz"})
    text = succeed("run", config, "--output", tmp_path / "out", "--set=kip.steps=2")
    assert "own.npz has no test split: 100 of its 500 images, drawn by seed and by class" in text
    assert "step 4: test" in succeed("run", config, "--output", tmp_path / "out", "--resume", ranks=2)
    assert "(100 test images)" in succeed("evaluate", tmp_path / "out/latest.h5")


def test_a_run_from_before_there_were_splits_by_seed_is_not_measured_on_what_it_was_trained_on(tmp_path):
    digits = load_digits()
    np.savez(tmp_path / "own.npz", images=digits.images[:500], labels=digits.target[:500])
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz", "test_share": 0.0})
    succeed("run", config, "--output", tmp_path / "out")
    checkpoint = (tmp_path / "out/latest.h5").resolve()
    with h5py.File(checkpoint, "r+") as file:
        text = file.attrs["config"]
        assert "test_share = 0.0\n" in text
        file.attrs["config"] = text.replace("test_share = 0.0\n", "")
    for command in ("evaluate", "transfer"):
        check_refused([command, checkpoint], ["own.npz", "no test split"], 0, tmp_path)
    assert "resuming from" in succeed("run", config, "--output", tmp_path / "out", "--resume")


SHAPES = {"large": (96, 96, 3), "many channels": (20, 30, 13), "one row": (1, 40, 1), "tiny": (4, 4, 2)}


def test_large_images_are_priced_before_they_are_computed(tmp_path):
    labels = np.arange(20) % 2
    images = np.random.default_rng(0).integers(0, 256, (20, 64, 64, 1), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz"}, kip={"batch": 4, "steps": 1},
                          kernel={"architecture": "conv relu pool flatten dense"})  # fmt: skip
    text = succeed("run", config, "--output", tmp_path / "out", ranks=2)
    said = (
        r"a kernel entry of 64×64×1 images takes \S+ s, \S+ s with its gradient, and up to [1-9]\d* MiB of memory "
        r"while it is computed: a step of 10 entries, about \d+ s on 2"
    )
    assert re.search(said, text), text


@pytest.mark.parametrize("name", SHAPES)
def test_any_size_and_shape(tmp_path, name):
    shape = SHAPES[name]
    labels = np.arange(30) % 2
    images = np.random.default_rng(0).integers(0, 200, (30, *shape), np.uint8) + 50 * labels[:, None, None, None]
    np.savez(tmp_path / "own.npz", images=images.astype(np.uint8), labels=labels)
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz", "axes": "nhwc"},
                          kernel={"architecture": "conv relu flatten dense"}, kip={"batch": 4, "steps": 1})  # fmt: skip
    succeed("run", config, "--output", tmp_path / "out")
    assert read_own(tmp_path / "out/latest.h5").arrays["support/images"].shape == (2, *shape)


def test_many_classes(tmp_path):
    labels = np.repeat(np.arange(1000), 3)
    images = np.random.default_rng(0).integers(0, 256, (3000, 4, 4), np.uint8)
    np.savez(tmp_path / "own.npz", images=images, labels=labels)
    config = write_config(tmp_path / "c.toml", data={"name": "own.npz"}, kip={"batch": 1000, "steps": 1})
    succeed("run", config, "--output", tmp_path / "out", ranks=2)
    assert read_own(tmp_path / "out/latest.h5").arrays["support/labels"].shape == (1000, 1000)
