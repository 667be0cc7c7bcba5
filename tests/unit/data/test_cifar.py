import pickle

import numpy as np
import pytest
from check_data import assert_same, assert_split
from make_files import binary_bytes, cifar_batches, python2_pickle, write, write_cifar10, write_cifar100

from hpcdistill.data.readers import load_dataset

WRITERS = {"cifar-10": write_cifar10, "cifar-100": write_cifar100}
BATCH = "cifar-10-batches-py/data_batch_3"


@pytest.mark.parametrize("name", WRITERS)
def test_both_layouts_give_the_same(tmp_path, name):
    *train, (test_images, test_labels) = WRITERS[name](tmp_path)
    binary, python = (load_dataset(name, tmp_path / layout) for layout in ("binary", "python"))
    assert_split(binary.train, *(np.concatenate(parts) for parts in zip(*train, strict=True)))
    assert_split(binary.test, test_images, test_labels)
    assert_same(python, binary)
    assert binary.image_shape == (32, 32, 3)
    assert binary.n_classes == int(name.removeprefix("cifar-"))


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_written_by_python3(tmp_path, protocol):
    batches = write_cifar10(tmp_path)
    images, labels = batches[2]
    planes = images.transpose(0, 3, 1, 2).reshape(-1, 3072)
    for array in (np.ascontiguousarray(planes), np.asfortranarray(planes)):
        content = pickle.dumps({"data": array, "labels": labels.astype(np.int64)}, protocol)
        write(tmp_path / "python" / BATCH, content)
        assert_same(load_dataset("cifar-10", tmp_path / "python"), load_dataset("cifar-10", tmp_path / "binary"))


@pytest.mark.parametrize("kept", [1, 3072, 3074])
def test_truncated_binary(tmp_path, data_error, kept):
    write_cifar10(tmp_path)
    path = tmp_path / "binary/cifar-10-batches-bin/data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:kept])
    data_error("cifar-10", tmp_path / "binary", str(path), "truncated", "no multiple of 3073")


def test_empty_binary(tmp_path, data_error):
    write_cifar10(tmp_path)
    path = write(tmp_path / "binary/cifar-10-batches-bin/test_batch.bin", b"")
    data_error("cifar-10", tmp_path / "binary", str(path), "empty")


def test_label_out_of_range(tmp_path, data_error):
    write_cifar10(tmp_path)
    images, labels = cifar_batches(1, 10)[0]
    labels[1] = 200
    path = write(tmp_path / "binary/cifar-10-batches-bin/data_batch_1.bin", binary_bytes(images, labels))
    data_error("cifar-10", tmp_path / "binary", str(path), "label 200 at index 1 is outside 0…9")
    path = write(tmp_path / "python/cifar-10-batches-py/data_batch_1", python2_pickle(images, labels=labels))
    data_error("cifar-10", tmp_path / "python", str(path), "label 200 at index 1 is outside 0…9")


def pickled(**content) -> bytes:
    return pickle.dumps(content, 2)


GOOD = np.zeros((2, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"", "damaged pickle"),
        (b"not a pickle", "damaged pickle"),
        (pickled(data=GOOD, labels=[0, 1])[:500], "damaged pickle"),
        (pickle.dumps([1, 2]), "holds a list, not a dictionary"),
        (pickled(labels=[0, 1]), "no key 'data'; it has ['labels']"),
        (pickled(data=GOOD, fine_labels=[0, 1]), "no key 'labels'; it has ['data', 'fine_labels']"),
        (pickled(data=GOOD, labels=[0]), "2 images but 1 labels"),
        (pickled(data=GOOD, labels=[0, -1]), "label -1 at index 1"),
        (pickled(data=GOOD, labels=[0, 1.5]), "must be a list of integers"),
        (pickled(data=GOOD, labels=[0, 10**30]), "must be a list of integers"),
        (pickled(data=GOOD, labels=[0, [1]]), "must be a list of integers"),
        (pickled(data=GOOD[:, :100], labels=[0, 1]), "must be a uint8 array (n, 3072), it is uint8 (2, 100)"),
        (pickled(data=GOOD.astype(float), labels=[0, 1]), "it is float64 (2, 3072)"),
        (pickled(data=[1, 2], labels=[0, 1]), "it is list"),
        (pickled(data=np.array([{}, {}]), labels=[0, 1]), "an array of type 'O8', not of numbers"),
    ],
)
def test_bad_pickle(tmp_path, data_error, content, part):
    write_cifar10(tmp_path)
    path = write(tmp_path / "python" / BATCH, content)
    data_error("cifar-10", tmp_path / "python", str(path), part)


class CreateFile:
    """Its pickle, when loaded by `pickle.load`, creates a file."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_pickle_that_runs_code_is_refused(tmp_path, data_error, protocol):
    write_cifar10(tmp_path)
    trap = tmp_path / "created"
    path = write(tmp_path / "python" / BATCH, pickle.dumps({"data": CreateFile(trap), "labels": []}, protocol))
    data_error("cifar-10", tmp_path / "python", str(path), "refused, the pickle asks for", "open'", "Do not use")
    assert not trap.exists()
    pickle.loads(path.read_bytes())["data"].close()
    assert trap.exists()


@pytest.mark.parametrize(
    "name", ["os\nsystem", "builtins\neval", "numpy\nload", "numpy.core.multiarray\nscalar", "codecs\nencode"]
)
def test_globals_are_refused_by_name(tmp_path, data_error, name):
    write_cifar10(tmp_path)
    write(tmp_path / "python" / BATCH, b"c" + name.encode() + b"\n.")
    data_error("cifar-10", tmp_path / "python", BATCH, f"asks for '{name.replace(chr(10), '.')}'")
