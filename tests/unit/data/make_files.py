"""Writers of small data sets in the official formats."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
from scipy.io import savemat

MNIST_FILES = {
    "train": ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    "test": ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
}
CIFAR10_BATCHES = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]


def idx_bytes(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.tobytes()


def write(path: Path, content: bytes, gz: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path = path.with_name(path.name + ".gz") if gz else path
    path.write_bytes(gzip.compress(content) if gz else content)
    return path


def random_split(n: int, shape: tuple[int, ...], n_classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (n, *shape), np.uint8), rng.integers(0, n_classes, n).astype(np.uint8)


def write_mnist(folder: Path, gz: bool = False) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    splits = {"train": random_split(23, (5, 7), 10), "test": random_split(11, (5, 7), 10, seed=1)}
    for split, arrays in splits.items():
        for name, array in zip(MNIST_FILES[split], arrays, strict=True):
            write(folder / name, idx_bytes(array), gz)
    return splits


def cifar_batches(n_batches: int, n_classes: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return images in NHWC and labels for every batch."""
    return [random_split(3 + seed, (32, 32, 3), n_classes, seed) for seed in range(n_batches)]


def planes(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2)).reshape(len(images), 3072)


def binary_bytes(images: np.ndarray, *labels: np.ndarray) -> bytes:
    return np.hstack([*(column[:, None] for column in labels), planes(images)]).astype(np.uint8).tobytes()


def python2_pickle(images: np.ndarray, **labels: np.ndarray) -> bytes:
    """Return the bytes that Python 2's cPickle wrote, protocol 2: text is `str`, which Python 3 sees as bytes."""
    data = planes(images)
    parts = [b"\x80\x02}(", _string2(b"batch_label"), _string2(b"a batch")]
    for key, values in labels.items():
        parts += [_string2(key.encode()), b"](", *(b"K" + bytes([value]) for value in values), b"e"]
    parts += [_string2(b"data"), b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01"]
    parts += [b"J", struct.pack("<i", data.shape[0]), b"M", struct.pack("<H", data.shape[1]), b"\x86"]
    parts += [b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"]
    parts += [b"T", struct.pack("<i", data.size), data.tobytes(), b"tbu."]
    return b"".join(parts)


def _string2(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def write_cifar10(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Write both layouts under `root`, with the same content."""
    batches = cifar_batches(6, 10)
    for name, (images, labels) in zip(CIFAR10_BATCHES, batches, strict=True):
        write(root / "binary/cifar-10-batches-bin" / f"{name}.bin", binary_bytes(images, labels))
        write(root / "python/cifar-10-batches-py" / name, python2_pickle(images, labels=labels))
    return batches


def write_cifar100(root: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    batches = cifar_batches(2, 100)
    for name, (images, fine) in zip(("train", "test"), batches, strict=True):
        write(root / "binary/cifar-100-binary" / f"{name}.bin", binary_bytes(images, fine // 5, fine))
        pickled = python2_pickle(images, coarse_labels=fine // 5, fine_labels=fine)
        write(root / "python/cifar-100-python" / name, pickled)
    return batches


def write_svhn(folder: Path, **replaced: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Write both files with digits as labels; `replaced` overrides variables of the training file."""
    folder.mkdir(parents=True, exist_ok=True)
    splits = [random_split(12, (32, 32, 3), 10), random_split(5, (32, 32, 3), 10, seed=1)]
    for split, (images, digits) in zip(("train", "test"), splits, strict=True):
        stored = {"X": images.transpose(1, 2, 3, 0), "y": np.where(digits == 0, 10, digits)[:, None].astype(np.uint8)}
        savemat(folder / f"{split}_32x32.mat", stored | (replaced if split == "train" else {}), do_compression=True)
    return splits


def cifar10_archive() -> bytes:
    """Return a `.tar.gz` with the binary layout of CIFAR-10."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, (images, labels) in zip(CIFAR10_BATCHES, cifar_batches(6, 10), strict=True):
            content = binary_bytes(images, labels)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}.bin")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
