"""Whatever happens to a file, reading it gives a data set or a `DataError`."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from make_files import write_cifar10, write_mnist, write_svhn

from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import DataError


def damaged(raw: bytes, rng: np.random.Generator) -> bytes:
    """Change a few bytes, mostly near the start, where headers are; sometimes cut the end off."""
    content = np.frombuffer(raw, np.uint8).copy()
    reach = int(rng.choice([16, 200, len(raw)]))
    content[rng.integers(0, min(reach, len(raw)), rng.integers(1, 4))] = rng.integers(0, 256)
    return content[: rng.integers(1, len(raw)) if rng.random() < 0.2 else None].tobytes()


def read_damaged(name: str, root: Path, path: Path, times: int) -> None:
    raw, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(times):
        path.write_bytes(damaged(raw, rng))
        with contextlib.suppress(DataError):
            load_dataset(name, root)


@pytest.mark.parametrize("gz", [False, True])
def test_idx(tmp_path, gz):
    write_mnist(tmp_path, gz)
    read_damaged("mnist", tmp_path, tmp_path / ("train-images-idx3-ubyte" + ".gz" * gz), 100)


@pytest.mark.parametrize(
    "path", ["binary/cifar-10-batches-bin/test_batch.bin", "python/cifar-10-batches-py/test_batch"]
)
def test_cifar(tmp_path, path):
    write_cifar10(tmp_path)
    read_damaged("cifar-10", (tmp_path / path).parents[1], tmp_path / path, 100)


def test_svhn(tmp_path):
    write_svhn(tmp_path)
    read_damaged("svhn", tmp_path, tmp_path / "test_32x32.mat", 100)


def test_npz(tmp_path):
    path = tmp_path / "own.npz"
    np.savez_compressed(path, images=np.arange(75, dtype=np.uint8).reshape(3, 5, 5), labels=np.array([0, 1, 1]))
    read_damaged(str(path), tmp_path, path, 200)
