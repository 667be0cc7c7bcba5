"""`hpcdistill.distill` on any number of ranks: the set that one process makes, and every rank has it."""

import numpy as np
import pytest

import hpcdistill
from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import ConfigError, DataError, NumericalError
from hpcdistill.mpi import shared

pytestmark = pytest.mark.most_ranks(2)

CONFIG = {"kernel": {"architecture": "FC1", "precision": "float64"}, "kip": {"steps": 3, "evaluate_every": 3}}


@pytest.fixture(scope="module")
def digits():
    data = load_dataset("digits")
    return data.train.images[:200], data.train.labels[:200], (data.test.images[:100], data.test.labels[:100])


@pytest.mark.parametrize("more", [{}, {"preprocess.zca": True}, {"data.validation": 50}], ids=str)
def test_any_number_of_ranks_makes_the_same_set(comm, digits, more):
    images, labels, test = digits
    before, told = len(shared._windows), []
    found = hpcdistill.distill(images, labels, test=test, config=CONFIG | more, comm=comm,
                               callback=lambda step, figures: told.append(step))  # fmt: skip
    assert len(shared._windows) == before
    assert told == ([1, 2, 3] if comm.Get_rank() == 0 else [])
    alone = hpcdistill.distill(images, labels, test=test, config=CONFIG | more)
    np.testing.assert_allclose(found.images, alone.images, atol=1e-8)
    np.testing.assert_allclose(found.labels, alone.labels, atol=1e-8)
    np.testing.assert_array_equal(found.history["test_accuracy"], alone.history["test_accuracy"])
    np.testing.assert_allclose(found.predict(test[0]), alone.predict(test[0]), atol=1e-7)


@pytest.mark.parametrize("method", ["label_solve", "krr"])
def test_other_methods(comm, digits, method):
    images, labels, test = digits
    config = {"kernel.architecture": "FC1", "krr.draws": 2, "label_solve.chunk": 50}
    told = []
    found = hpcdistill.distill(images, labels.astype(str), method=method, images_per_class=2, config=config, comm=comm,
                               test=(test[0], test[1].astype(str)),
                               callback=lambda step, figures: told.append(step))  # fmt: skip
    assert (len(found.images), found.class_names) == (20, tuple("0123456789"))
    assert told == ({"label_solve": [1, 2, 3, 4], "krr": [0, 1]}[method] if comm.Get_rank() == 0 else [])
    accuracy = (found.predict(test[0]).argmax(axis=1) == test[1]).mean()
    assert accuracy == found.history["test_accuracy"][-1] > 0.5


def test_without_test_images_nothing_is_measured(comm, digits):
    found = hpcdistill.distill(*digits[:2], config=CONFIG, comm=comm)
    assert np.isnan(found.history["test_accuracy"]).all()
    assert repr(found) == "<DistilledSet: 10 images 8×8×1 of 10 classes, FC1 ntk, step 3>"


def test_what_goes_wrong_on_one_rank_is_said_on_all(comm, digits):
    images, labels, _ = digits
    mine = comm.Get_rank() == comm.Get_size() - 1
    with pytest.raises(DataError, match="images must be an array, it is None"):
        hpcdistill.distill(None if mine else images, labels, config=CONFIG, comm=comm)
    if comm.Get_size() > 1:
        with pytest.raises(ConfigError, match="The ranks call with different arguments"):
            hpcdistill.distill(images, labels, config=CONFIG | {"seed": int(mine)}, comm=comm)

    def callback(step, figures):
        raise ValueError("no more of this")

    with pytest.raises(ValueError, match="no more of this"):
        hpcdistill.distill(images, labels, config=CONFIG, comm=comm, callback=callback)


def test_values_and_labels_of_any_kind(comm, digits):
    images, labels, test = digits
    config = CONFIG | {"kip.steps": np.int64(2), "kip.label_learning_rate": np.float32(0.01), "data.validation": 40}
    found = hpcdistill.distill(images > 100, (labels > 4).astype(bool), config=config, comm=comm)
    assert found.class_names == ("0", "1")
    as_bytes = hpcdistill.distill(np.where(images > 100, 255, 0), labels > 4, config=config, comm=comm)
    np.testing.assert_array_equal(found.images, as_bytes.images)
    np.testing.assert_array_equal(found.predict(test[0] > 100), found.predict(np.where(test[0] > 100, 255, 0)))
    assert found.predict(test[0][:0]).shape == (0, 2)
    named = hpcdistill.distill(images, np.array([f"digit {k}" for k in labels], object), config=config, comm=comm)
    assert named.class_names[3] == "digit 3"


@pytest.mark.parametrize(("changed", "error", "words"), [
    ({"labels": np.zeros(200, int)}, DataError, "arrays: all labels are of a single class"),
    ({"images": np.full((200, 8, 8), np.nan)}, DataError, "arrays: 'images' has 12800 NaN"),
    ({"method": "sgd"}, ConfigError, "method is 'sgd'. Valid: kip, label_solve, krr"),
    ({"config": {"kip": 3}}, ConfigError, "'kip' must be a section"),
    ({"config": {"kip.stepz": 3}}, ConfigError, "did you mean 'kip.steps'"),
    ({"config": {"data.name": "mnist"}}, ConfigError, "data.name is an argument of its own, or of files"),
    ({"config": {"method": "krr"}}, ConfigError, "the method is an argument"),
    ({"images_per_class": 1000}, ConfigError, "support.images_per_class=1000, but class"),
    ({"method": "krr"}, ConfigError, "give it test="),
    ({"test": np.zeros((5, 8, 8))}, ConfigError, r"test must be a pair, \(images, labels\)"),
    ({"images": [[1], [1, 2]]}, DataError, "All images must have one shape"),
    ({"images": None}, DataError, "images must be an array, it is None"),
    ({"callback": 3}, ConfigError, "callback must be a function"),
    ({"config": ["kip.steps=3"]}, ConfigError, "config must be a dictionary"),
    ({"config": {"kip.steps": None}}, ConfigError, "kip.steps is None"),
    ({"config": {"data.size": 4}}, ConfigError, "data.size is an argument of its own, or of files"),
    ({"comm": 3}, ConfigError, "comm must be a communicator of mpi4py"),
    ({"config": {"kip.learning_rate": 1e300, "kernel.architecture": "FC1"}}, NumericalError, "kip.learning_rate"),
])  # fmt: skip
def test_what_is_wrong_is_said_on_every_rank(comm, digits, changed, error, words):
    arguments = {"images": digits[0], "labels": digits[1], "comm": comm} | changed
    with pytest.raises(error, match=words):
        hpcdistill.distill(arguments.pop("images"), arguments.pop("labels"), **arguments)
