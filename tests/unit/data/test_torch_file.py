"""PyTorch's files, against one that PyTorch 2.13 has written."""

import io
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from hpcdistill.errors import DataError
from hpcdistill.torch_file import read_torch, write_torch

#: torch.save({"data": [[torch.arange(48.).reshape(2, 2, 3, 4).permute(0, 3, 1, 2), torch.tensor([0, 1])]],
#: "x": torch.nn.Parameter(torch.ones(2, dtype=torch.float16)), "b": torch.tensor([True]),
#: "s": torch.arange(10)[3:7:2]})
REAL = Path(__file__).with_name("torch_2_13.pt")


def test_a_file_of_pytorch_is_read():
    found = read_torch(REAL)
    assert list(found) == ["data/0/0", "data/0/1", "x", "b", "s"]
    np.testing.assert_array_equal(found["data/0/0"], np.arange(48.0).reshape(2, 2, 3, 4).transpose(0, 3, 1, 2))
    assert found["data/0/1"].tolist() == [0, 1]
    assert (found["x"].dtype, found["x"].tolist()) == (np.float16, [1, 1])
    assert (found["b"].tolist(), found["s"].tolist()) == ([True], [3, 5])


@pytest.mark.parametrize("dtype", ["f4", "f8", "f2", "u1", "i1", "i2", "i4", "i8", "?"])
@pytest.mark.parametrize("shape", [(), (5,), (2, 3, 4, 1), (0, 3)])
def test_what_is_written_is_read(tmp_path, dtype, shape):
    array = np.random.default_rng(0).integers(0, 2, shape).astype(dtype)
    with (tmp_path / "a.pt").open("wb") as file:
        write_torch(file, {"names": ["a", "ü"], "images": array, "text": "x", "more": array[..., np.newaxis]})
    found = read_torch(tmp_path / "a.pt")
    assert list(found) == ["names", "images", "text", "more"]
    assert (found["names"].tolist(), str(found["text"])) == (["a", "ü"], "x")
    assert (found["images"].dtype, found["images"].shape) == (np.dtype(dtype), shape)
    np.testing.assert_array_equal(found["images"], array)


def member(archive, name):
    return archive.read(next(path for path in archive.namelist() if path.partition("/")[2] == name))


def test_written_as_pytorch_writes(tmp_path):
    """The same operations on the same values, whatever the framing, as in PyTorch's own file."""
    with (tmp_path / "a.pt").open("wb") as file:
        write_torch(file, {"s": np.arange(3)})
    with zipfile.ZipFile(tmp_path / "a.pt") as own, zipfile.ZipFile(REAL) as real:
        mine, theirs = (
            archive.read(next(n for n in archive.namelist() if n.endswith("data.pkl"))) for archive in (own, real)
        )
        assert {name.partition("/")[2] for name in own.namelist()} >= {"data.pkl", "data/0", "version", "byteorder"}
        assert own.read("archive/version") == member(real, "version")
    for name in (b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nLongStorage\n", b"ccollections\nOrderedDict\n"):
        assert name in mine
        assert name in theirs


def archive(pickled, **members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("a/data.pkl", pickled)
        for name, content in members.items():
            made.writestr(f"a/data/{name}", content)
    return file.getvalue()


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "a.pt"
    whole = REAL.read_bytes()
    cases = [
        (b"text", "not a file of PyTorch"),
        (whole[: len(whole) // 2], "not a file of PyTorch"),
        (archive(pickle.dumps(print)), "refused, it asks for 'builtins.print', which is neither a tensor"),
        (archive(b"garbage"), "not a file of PyTorch"),
    ]
    for content, message in cases:
        path.write_bytes(content)
        with pytest.raises(DataError, match=message):
            read_torch(path)
    with pytest.raises(DataError, match="no such file"):
        read_torch(tmp_path / "b.pt")


def test_a_tensor_that_is_not_all_there(tmp_path):
    with (tmp_path / "a.pt").open("wb") as file:
        write_torch(file, {"s": np.arange(3)})
    with zipfile.ZipFile(tmp_path / "a.pt") as made:
        pickled = made.read("archive/data.pkl")
    shape = b"(J\x03\x00\x00\x00t(J\x01\x00\x00\x00t"
    assert shape in pickled
    for wrong in (b"(J\x04\x00\x00\x00t(J\x01\x00\x00\x00t", b"(J\x03\x00\x00\x00t(J\xff\xff\xff\xfft"):
        (tmp_path / "b.pt").write_bytes(archive(pickled.replace(shape, wrong), **{"0": np.arange(3).tobytes()}))
        with pytest.raises(DataError, match="is not all there"):
            read_torch(tmp_path / "b.pt")
