import pytest
from make_files import cifar10_archive, write, write_cifar10, write_cifar100, write_mnist

from hpcdistill.data.readers import load_dataset
from hpcdistill.data.readers.locate import data_root
from hpcdistill.data.registry import KNOWN, is_own_file, known_dataset
from hpcdistill.errors import DataError


@pytest.mark.parametrize("folder", ["", "mnist"])
def test_folders_of_loose_files(tmp_path, folder):
    write_mnist(tmp_path / folder)
    assert len(load_dataset("mnist", tmp_path).train) == 23


@pytest.mark.parametrize("folder", ["", "cifar-10", "cifar-10-batches-py", "cifar-10/cifar-10-batches-py"])
def test_folders_of_unpacked_archive(tmp_path, folder):
    write_cifar10(tmp_path)
    target = tmp_path / "root" / folder
    target.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "python/cifar-10-batches-py").rename(target)
    assert len(load_dataset("cifar-10", tmp_path / "root").test) == 8


def test_complete_layout_is_preferred(tmp_path):
    write_cifar10(tmp_path)
    (tmp_path / "python/cifar-10-batches-py").rename(tmp_path / "cifar-10-batches-py")
    (tmp_path / "binary/cifar-10-batches-bin").rename(tmp_path / "cifar-10-batches-bin")
    (tmp_path / "cifar-10-batches-bin/data_batch_1.bin").unlink()
    assert len(load_dataset("cifar-10", tmp_path).test) == 8


def test_both_cifar_in_one_root(tmp_path):
    write_cifar10(tmp_path)
    write_cifar100(tmp_path)
    assert load_dataset("cifar-10", tmp_path / "binary").n_classes == 10
    assert load_dataset("cifar-100", tmp_path / "binary").n_classes == 100


def test_default_root(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_DATA", str(tmp_path))
    assert data_root(None) == tmp_path
    assert data_root(tmp_path / "other") == tmp_path / "other"
    monkeypatch.setenv("HPCDISTILL_DATA", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_root(None) == tmp_path / ".cache/hpcdistill/data"


def test_no_home(data_error):
    data_error("mnist", "~no-such-user/data", "no home directory")


@pytest.mark.parametrize("name", [name for name, known in KNOWN.items() if known.layouts])
def test_nothing_there(tmp_path, data_error, name):
    layout = KNOWN[name].layouts[0]
    message = data_error(name, tmp_path, f"`hpcdistill prepare {name}`", str(tmp_path / name), layout.mirrors[0])
    for file in layout.files + layout.downloads:
        assert file in message


def test_one_file_missing(tmp_path, data_error):
    write_mnist(tmp_path / "mnist", gz=True)
    (tmp_path / "mnist/t10k-labels-idx1-ubyte.gz").unlink()
    message = data_error("mnist", tmp_path, "mnist: t10k-labels-idx1-ubyte not found", "/t10k-labels-idx1-ubyte.gz")
    assert "train-images" not in message


def test_archive_not_unpacked(tmp_path, data_error):
    archive = write(tmp_path / "my data/cifar-10-binary.tar.gz", cifar10_archive())
    data_error("cifar-10", archive.parent, "not unpacked", "`hpcdistill prepare cifar-10`", f"`tar -xzf '{archive}' -C")


def test_directory_in_place_of_file(tmp_path, data_error):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.unlink()
    path.mkdir()
    data_error("mnist", tmp_path, str(path), "is a directory")


def test_no_permission(tmp_path, data_error, unprivileged):
    write_mnist(tmp_path / "mnist")
    (tmp_path / "mnist").chmod(0)
    with unprivileged():
        data_error("mnist", tmp_path, "mnist", "no permission")
    (tmp_path / "mnist").chmod(0o700)


def test_root_is_a_file(tmp_path, data_error):
    data_error("mnist", write(tmp_path / "root", b""), "not found in")


@pytest.mark.parametrize(
    ("name", "close"),
    [("minst", "mnist"), ("CIFAR10", "cifar-10"), ("FashionMNIST", "fashion-mnist"), ("SVHN", "svhn")],
)
def test_unknown_name_suggests(data_error, name, close):
    data_error(name, None, f"Unknown data set '{name}'", f"Did you mean '{close}'?", *KNOWN, ".npz")


def test_unknown_name_without_suggestion():
    with pytest.raises(DataError, match=r"Unknown data set 'imagenet-21k'\. Known: digits"):
        known_dataset("imagenet-21k")


def test_registry_is_consistent():
    for name, known in KNOWN.items():
        assert known.name == name
        assert not is_own_file(name)
        assert known.citation
        assert known.licence
        assert len(set(known.class_names)) == len(known.class_names) == (100 if name == "cifar-100" else 10)
        for layout in known.layouts:
            assert set(layout.downloads) <= set(layout.md5)
            assert all(len(md5) == 32 for md5 in layout.md5.values())
            assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in layout.mirrors)
    assert list(KNOWN["cifar-100"].class_names) == sorted(KNOWN["cifar-100"].class_names)
