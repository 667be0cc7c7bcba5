import errno
import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from make_files import cifar10_archive, write, write_mnist

from hpcdistill.data.download import md5_of, prepare
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.registry import KNOWN
from hpcdistill.errors import DataError, StorageError

NOWHERE = "http://127.0.0.1:9/"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    """Serve tmp_path/served; return its folder and URL."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    folder = tmp_path / "served"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=folder)) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{http.server_port}/"
        http.shutdown()


def publish(monkeypatch, name, mirrors, folder):
    """Make the registry point to `mirrors`, with the checksums of the files in `folder`."""
    layout = KNOWN[name].layouts[0]
    md5 = {file: md5_of(folder / file) for file in layout.downloads if (folder / file).exists()}
    layout = replace(layout, mirrors=tuple(mirrors), md5={**layout.md5, **md5})
    monkeypatch.setitem(KNOWN, name, replace(KNOWN[name], layouts=(layout, *KNOWN[name].layouts[1:])))


def test_md5_of(tmp_path):
    content = np.random.default_rng(0).bytes(100_000)
    assert md5_of(write(tmp_path / "file", content)) == hashlib.md5(content).hexdigest()
    with pytest.raises(DataError, match="no such file"):
        md5_of(tmp_path / "other")


def test_fetches_what_is_missing_from_the_first_working_mirror(tmp_path, server, monkeypatch):
    folder, url = server
    write_mnist(folder, gz=True)
    publish(monkeypatch, "mnist", [NOWHERE, url + "no-such-folder/", url], folder)
    root = tmp_path / "root"
    kept = write(root / "mnist/train-labels-idx1-ubyte", (folder / "train-labels-idx1-ubyte.gz").read_bytes())
    lines = []
    prepare("mnist", root, lines.append)
    assert sum("downloaded from" in line for line in lines) == 3
    assert sum("checksum ok" in line for line in lines) == 3
    assert f"{kept}: found; no checksum is published for it" in lines
    assert "mnist: 23 training and 11 test images of 5×7×1, uint8 0…255, 10 classes" in lines
    assert "cite: LeCun" in lines[-1]
    assert (root / "mnist/t10k-images-idx3-ubyte.gz").stat().st_mode & 0o777 == 0o644
    assert len(load_dataset("mnist", root).train) == 23


def test_second_call_fetches_nothing(tmp_path, monkeypatch):
    write_mnist(tmp_path / "mnist", gz=True)
    publish(monkeypatch, "mnist", [NOWHERE], tmp_path / "mnist")
    lines = []
    prepare("mnist", tmp_path, lines.append)
    assert sum("checksum ok" in line for line in lines) == 4


def test_file_that_is_not_the_published_one(tmp_path):
    write_mnist(tmp_path, gz=True)
    lines = []
    prepare("mnist", tmp_path, lines.append)
    wrong = [line for line in lines if "not the published one" in line]
    assert len(wrong) == 4
    assert "f68b3c2dcbeaaa9fbdd348bbdeb94873" in wrong[0]


def test_damaged_download_is_not_kept(tmp_path, server, monkeypatch):
    folder, url = server
    write_mnist(folder, gz=True)
    publish(monkeypatch, "mnist", [url], folder)
    write(folder / "train-images-idx3-ubyte.gz", b"an error page")
    with pytest.raises(DataError, match="cannot download train-images-idx3-ubyte") as caught:
        prepare("mnist", tmp_path / "root", print)
    assert "hash" in str(caught.value)
    assert list((tmp_path / "root/mnist").iterdir()) == []


def test_no_network_says_what_to_put_where(tmp_path, monkeypatch):
    publish(monkeypatch, "svhn", [NOWHERE], tmp_path)
    with pytest.raises(DataError, match="cannot download") as caught:
        prepare("svhn", tmp_path, print)
    message = str(caught.value)
    assert "\n" not in message
    assert f"put train_32x32.mat, test_32x32.mat into {tmp_path}/svhn (from {NOWHERE}NAME)" in message


@pytest.mark.parametrize("place", ["", "cifar-10"])
def test_unpacks_an_archive_that_is_there(tmp_path, place):
    archive = write(tmp_path / place / "cifar-10-binary.tar.gz", cifar10_archive())
    lines = []
    prepare("cifar-10", tmp_path, lines.append)
    assert "not the published one" in lines[0]
    assert f"{archive}: unpacked into {archive.parent}/cifar-10-batches-bin" in lines
    assert not list(tmp_path.rglob("*.tmp"))
    assert len(load_dataset("cifar-10", tmp_path).test) == 8


def test_fetches_and_unpacks_an_archive(tmp_path, server, monkeypatch):
    folder, url = server
    write(folder / "cifar-10-binary.tar.gz", cifar10_archive())
    publish(monkeypatch, "cifar-10", [url], folder)
    prepare("cifar-10", tmp_path / "root", print)
    assert (tmp_path / "root/cifar-10/cifar-10-batches-bin/test_batch.bin").is_file()


@pytest.mark.parametrize("damage", [lambda raw: raw[:3000], lambda raw: b"text", lambda raw: raw[:500] + raw[600:]])
def test_damaged_archive(tmp_path, damage):
    archive = write(tmp_path / "cifar-10-binary.tar.gz", damage(cifar10_archive()))
    with pytest.raises(DataError, match="truncated or damaged archive") as caught:
        prepare("cifar-10", tmp_path, lambda line: None)
    assert str(archive) in str(caught.value)


def test_archive_of_something_else(tmp_path):
    write(tmp_path / "cifar-100-binary.tar.gz", cifar10_archive())
    with pytest.raises(DataError, match="cifar-100-binary/train"):
        prepare("cifar-100", tmp_path, lambda line: None)


def test_folder_that_cannot_be_written(tmp_path, unprivileged):
    (tmp_path / "root").mkdir(mode=0o500)
    with unprivileged(), pytest.raises((StorageError, DataError), match=r"(?i)permission"):
        prepare("mnist", tmp_path / "root", print)
    with pytest.raises(StorageError, match="cannot be written"):
        prepare("mnist", write(tmp_path / "file", b""), print)


def test_full_disk_is_a_storage_error(tmp_path, monkeypatch):
    def retrieve(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("hpcdistill.data.download._retrieve", retrieve)
    with pytest.raises(StorageError, match="No space left"):
        prepare("mnist", tmp_path, print)


def test_digits_need_nothing(tmp_path):
    lines = []
    prepare("digits", tmp_path, lines.append)
    assert "nothing to fetch" in lines[0]
    assert "1297 training and 500 test images of 8×8×1" in lines[1]


def test_own_file_is_validated(tmp_path):
    path = tmp_path / "own.npz"
    np.savez(path, images=np.eye(6).reshape(2, 3, 6), labels=np.array([0, 1]))
    lines = []
    prepare(str(path), None, lines.append)
    assert lines[0] == f"{path.name}: 2 training and 0 test images of 3×6×1, float32 0…1, 2 classes"
    assert lines[1:] == [
        "training: images 'images' (2, 3, 6) float64, labels 'labels' (2,) int64",
        "training images by class  0: 1, 1: 1",
    ]
    path.write_bytes(b"")
    with pytest.raises(DataError, match="not a readable"):
        prepare(str(path), None, lines.append)
