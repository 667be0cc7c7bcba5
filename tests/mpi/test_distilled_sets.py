"""Distilled sets in other people's files become what KIP starts from, and what `run` with 0 steps measures."""

import numpy as np
import pytest
from PIL import Image

from hpcdistill.config import parse_config
from hpcdistill.errors import ConfigError, DataError
from hpcdistill.mpi.collectives import on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.evaluate import settings_here
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.initial_support import make_initial_support
from hpcdistill.torch_file import write_torch

pytestmark = pytest.mark.most_ranks(2)

SETTINGS = ["kernel.architecture=FC1", "support.images_per_class=2", "kip.batch=100", "data.train_size=200"]
CLASSES = np.arange(20) % 10
SOFT = np.random.default_rng(0).normal(size=(20, 10))


def start(comm, path, *settings):
    config = parse_config("", [*SETTINGS, f"support.init={path}", *settings])
    return make_initial_support(load_experiment(comm, config, Reporter(False)))


@pytest.fixture
def natural(comm):
    """Some raw images, preprocessed ones, and the run that they are for."""
    loaded = load_experiment(comm, parse_config("", SETTINGS), Reporter(False))
    raw = loaded.dataset.train.images[:20]
    return loaded, raw, loaded.preprocessing.apply(raw)


def save(comm, path, **arrays):
    def write():
        if path.suffix == ".npz":
            np.savez(path, **arrays)
        else:
            with path.open("wb") as file:
                write_torch(file, arrays)

    on_root(comm, write)
    return path


@pytest.mark.parametrize("suffix", [".npz", ".pt"])
@pytest.mark.parametrize(
    "labels", [SOFT, CLASSES, CLASSES[:, None], np.eye(10)[CLASSES]], ids=["soft", "n", "n1", "hot"]
)
def test_preprocessed_images_are_taken_as_they_are(comm, shared_tmp_path, natural, suffix, labels):
    """As the papers' authors released theirs: `images`, `labels`."""
    loaded, _, x = natural
    made = start(comm, save(comm, shared_tmp_path / f"set{suffix}", images=x, labels=labels))
    np.testing.assert_array_equal(made.x_s, x)
    np.testing.assert_array_equal(made.y_s, SOFT if labels is SOFT else loaded.labels(CLASSES))
    assert (made.source_index == -1).all()


def test_what_is_taken_for_granted_of_labels(comm, shared_tmp_path, natural):
    loaded, _, x = natural
    probabilities = np.exp(SOFT) / np.exp(SOFT).sum(axis=1, keepdims=True)
    cases = {"from1": (CLASSES + 1, loaded.labels(CLASSES)), "row": (CLASSES[np.newaxis], loaded.labels(CLASSES)),
             "soft": (probabilities, probabilities - 0.1)}  # fmt: skip
    for name, (labels, wanted) in cases.items():
        made = start(comm, save(comm, shared_tmp_path / f"{name}.npz", images=x, labels=labels))
        np.testing.assert_allclose(made.y_s, wanted, atol=1e-15)


def test_other_orders_and_types_of_images(comm, shared_tmp_path, natural):
    _, _, x = natural
    path = save(comm, shared_tmp_path / "set.npz", images=np.moveaxis(x, 0, 3), labels=SOFT)
    np.testing.assert_array_equal(start(comm, path, "data.axes=hwcn").x_s, x)
    path = save(comm, shared_tmp_path / "set2.npz", images=x[..., 0] > 0, labels=SOFT, config=np.array("lr=0.1"))
    expected = save(comm, shared_tmp_path / "uint8.npz", images=np.uint8(255) * (x > 0), labels=SOFT)
    np.testing.assert_array_equal(start(comm, path).x_s, start(comm, expected).x_s)


def test_channels_first_and_other_names(comm, shared_tmp_path, natural):
    _, _, x = natural
    path = save(comm, shared_tmp_path / "set.pt", image_syn=np.moveaxis(x, 3, 1), label_syn=CLASSES)
    made = start(comm, path, "support.images=image_syn", "support.labels=label_syn")
    np.testing.assert_array_equal(made.x_s, x)
    with pytest.raises(DataError, match=r'the training images\? .*support.images = "NAME"'):
        start(comm, path)


def test_raw_images_are_preprocessed(comm, shared_tmp_path, natural):
    _, raw, x = natural
    for number, images in enumerate((raw, raw.astype(np.float32), raw.astype(np.float64) + 3)):
        made = start(comm, save(comm, shared_tmp_path / f"{number}.npz", images=images, labels=SOFT))
        if number < 2:
            np.testing.assert_allclose(made.x_s, x)


def test_what_cannot_be_told_is_asked_for(comm, shared_tmp_path, natural):
    """Raw images of about -2…2 are like preprocessed ones."""
    loaded, _, x = natural
    data = shared_tmp_path / "data.npz"
    train = loaded.dataset.train
    save(comm, data, images=loaded.preprocessing.apply(train.images), labels=train.labels)
    path = save(comm, shared_tmp_path / "set.npz", images=x, labels=SOFT)
    settings = [f"data.name={data}"]
    with pytest.raises(ConfigError, match="as in the data set, or preprocessed"):
        start(comm, path, *settings)
    np.testing.assert_array_equal(start(comm, path, "support.space=preprocessed", *settings).x_s, x)
    raw = start(comm, path, "support.space=raw", *settings).x_s
    assert not np.array_equal(raw, x)
    np.testing.assert_allclose(raw, x, atol=0.2)  # standardised once more, by nearly 0 and 1


def test_a_folder_of_pictures_per_class(comm, shared_tmp_path, natural):
    loaded, raw, x = natural
    labels = loaded.dataset.train.labels[:20]

    def write():
        for number, (image, label) in enumerate(zip(raw, labels, strict=True)):
            path = shared_tmp_path / f"set/{label}/{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image[..., 0]).save(path)

    on_root(comm, write)
    made = start(comm, f"{shared_tmp_path}/set")
    order = np.lexsort([np.array([str(n) for n in range(20)]), labels])
    np.testing.assert_allclose(made.x_s, x[order])
    np.testing.assert_array_equal(made.y_s, loaded.labels(np.sort(labels)))


@pytest.mark.parametrize("labels", [SOFT, CLASSES, np.eye(10)[CLASSES]], ids=["soft", "n", "hot"])
@pytest.mark.parametrize("suffix", [".npz", ".pt"])
def test_classes_in_another_order_are_told_by_their_names(comm, shared_tmp_path, natural, labels, suffix):
    loaded, _, x = natural
    theirs = labels[:, ::-1] if labels.ndim == 2 else 9 - labels
    path = shared_tmp_path / f"set{suffix}"
    save(comm, path, images=x, labels=np.ascontiguousarray(theirs), class_names=list("9876543210"))
    np.testing.assert_array_equal(start(comm, path).y_s, SOFT if labels is SOFT else loaded.labels(CLASSES))
    path = path.with_name(f"other{suffix}")
    save(comm, path, images=x, labels=np.ascontiguousarray(theirs), class_names=list("987654321x"))
    with pytest.raises(DataError, match="is of the classes 9, .*, x, but the data set has 0, "):
        start(comm, path)


BLANK = np.zeros((20, 8, 8, 1))
BAD = {
    "space": ({"images": BLANK.astype(np.uint8), "labels": SOFT}, "these are raw", "support.space=preprocessed"),
    "columns": ({"images": BLANK, "labels": SOFT[:, :5]}, "labels of 5 classes, the data set has 10"),
    "uneven": ({"images": BLANK[:19], "labels": SOFT[:19]}, r"images \(19, 8, 8, 1\) .* but this run needs \(20"),
    "units": ({"images": np.random.default_rng(0).random(BLANK.shape), "labels": SOFT}, "seem to be in other units"),
    "count": ({"images": BLANK, "labels": SOFT[:9]}, "20 images but 9 labels"),
    "shape": ({"images": np.zeros((20, 9, 9, 1)), "labels": SOFT}, r"has images \(9, 9, 1\), but"),
    "classes": ({"images": BLANK, "labels": CLASSES + 2}, "has the class 11, the data set has 10 classes"),
    "no images": ({"images": BLANK[:0], "labels": SOFT[:0]}, r"shape \(0, 8, 8, 1\) is empty"),
    "no labels": ({"images": BLANK, "labels": SOFT[:, :0]}, r"shape \(20, 0\) is empty"),
    "class names": ({"images": BLANK, "labels": SOFT, "class_names": np.array(7)}, "must be text"),
    "two": ({"images": BLANK, "x": BLANK, "labels": SOFT}, "may be 'images' or 'x'. Say which with support.images"),
    "NaN": ({"images": BLANK + np.nan, "labels": SOFT}, "no images of finite numbers"),
    "labels": ({"images": BLANK, "labels": SOFT * np.inf}, "labels that are not finite"),
    "names": ({"images": BLANK, "labels": np.full(20, "owl")}, "has the class 'owl', which is none of"),
}


@pytest.mark.parametrize("case", BAD)
def test_sets_that_cannot_be_used(comm, shared_tmp_path, case):
    arrays, message, *settings = BAD[case]
    path = save(comm, shared_tmp_path / "set.npz", **arrays)
    with pytest.raises((ConfigError, DataError), match=message):
        start(comm, path, *settings)


def test_a_data_folder_of_another_machine_is_this_ones_own(tmp_path):
    text = parse_config("", [f"data.root={tmp_path}"]).to_toml()
    assert settings_here(text, [], "a set") == []
    gone = text.replace(str(tmp_path), f"{tmp_path}/gone")
    assert settings_here(gone, ["seed=1"], "a set") == ["seed=1", "data.root="]
    assert settings_here(gone, ["data.root=asked"], "a set") == ["data.root=asked"]
