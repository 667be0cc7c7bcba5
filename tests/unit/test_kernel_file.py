"""Files of kernels: read block by block, damaged anywhere they are refused, and many tiles are opened quickly."""

import itertools
import pickle
import time
import zlib

import h5py
import numpy as np
import pytest

from hpcdistill.errors import CheckpointError, ConfigError
from hpcdistill.io.checkpoint import read_checkpoint
from hpcdistill.io.kernel_create import compress, create, is_there
from hpcdistill.io.kernel_file import KernelFile
from hpcdistill.io.tile import check_count, check_side

FORMS = [
    ((23, 23), True, "f8"),
    ((23, 9), False, "f4"),
    ((3, 3), True, "f8"),
    ((8, 20), False, "f8"),
    ((5, 1), False, "f4"),
]


def made(path, shape=(23, 23), tile=4, symmetric=True, dtype="f8"):
    """A complete file, and its matrix."""
    matrix = np.random.default_rng(0).normal(size=shape).astype(dtype)
    matrix = matrix + matrix.T if symmetric else matrix
    create(path, shape, np.dtype(dtype), tile, is_symmetric=symmetric, attributes={"network": "FC1", "w_std": 1.5},
           arrays={"row_labels": np.arange(shape[0]), "preprocess/mean": np.ones(3)})  # fmt: skip
    file = KernelFile.open(path)
    for i, j in file.tiles():
        file.write((i, j), matrix[i * tile : (i + 1) * tile, j * tile : (j + 1) * tile])
    return file, matrix


def damage(path, place):
    with path.open("r+b") as raw:
        raw.seek(place)
        byte = raw.read(1)[0]
        raw.seek(place)
        raw.write(bytes([byte ^ 4]))


def place_of(path, name):
    with h5py.File(path) as file:
        return file[name].id.get_offset()


@pytest.mark.parametrize("compressed", [False, True])
def test_equal_files_have_equal_bytes(tmp_path, compressed):
    files = []
    for name in "ab":
        file, _ = made(tmp_path / name)
        if compressed:
            compress(file)
        files.append((tmp_path / name).read_bytes())
        time.sleep(1.1)  # HDF5 writes seconds, where it writes times
    assert files[0] == files[1]


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(("shape", "symmetric", "dtype"), FORMS)
def test_blocks(tmp_path, shape, symmetric, dtype, compressed):
    path = tmp_path / "k.h5"
    file, matrix = made(path, shape, symmetric=symmetric, dtype=dtype)
    if compressed:
        compress(file)
    with h5py.File(path) as plain:  # as others read it
        np.testing.assert_array_equal(plain["kernel"][...], matrix, strict=True)
        assert (plain["kernel"].compression == "gzip") == compressed
    file = pickle.loads(pickle.dumps(KernelFile.open(path)))
    assert (file.is_compressed, file.attributes) == (compressed, {"network": "FC1", "w_std": 1.5})
    rng = np.random.default_rng(1)
    for _ in range(30):
        (a, b), (c, d) = (sorted(rng.integers(0, length + 1, 2)) for length in shape)
        np.testing.assert_array_equal(file.read(range(a, b), range(c, d)), matrix[a:b, c:d], strict=True)
    assert [path.name for path in tmp_path.iterdir()] == ["k.h5"]


@pytest.mark.parametrize("rows", [range(24), range(-1, 3), range(0, 8, 2), range(5, 3)])
def test_ranges_that_are_none_of_the_matrix(tmp_path, rows):
    file, _ = made(tmp_path / "k.h5")
    with pytest.raises(ValueError, match="no range of step 1 within 23"):
        file.read(rows, range(3))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_tile_is_not_read(tmp_path, compressed):
    path = tmp_path / "k.h5"
    file, matrix = made(path)
    if compressed:
        compress(file)
    with h5py.File(path) as plain:
        place = plain["kernel"].id.get_chunk_info_by_coord((8, 4)).byte_offset
    damage(path, place + 30)
    file = KernelFile.open(path)
    np.testing.assert_array_equal(file.read(range(8), range(23)), matrix[:8])
    with pytest.raises(CheckpointError, match=r"its tile \(2, 1\) is damaged"):
        file.read(range(10, 11), range(23))


def test_a_tile_that_is_not_there_is_not_read(tmp_path):
    file, _ = made(tmp_path / "k.h5")
    file.forget((2, 1))
    assert file.missing() == [(2, 1)]
    with pytest.raises(CheckpointError, match=r"its tile \(1, 2\) is not there"):
        KernelFile.open(file.path).read(range(4, 5), range(23))


def test_a_file_that_takes_its_place_is_not_read(tmp_path):
    file, _ = made(tmp_path / "k.h5")
    other, _ = made(tmp_path / "other.h5", dtype="f4")
    file.close()
    other.path.rename(file.path)
    with pytest.raises(CheckpointError, match="another process has put another file in its place"):
        file.read(range(3), range(3))


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("name", ["row_labels", "preprocess/mean"])
def test_damaged_labels(tmp_path, name, compressed):
    path = tmp_path / "k.h5"
    file, _ = made(path)
    if compressed:
        compress(file)
    damage(path, place_of(path, name) + 5)
    with pytest.raises(CheckpointError, match="labels, indices or attributes are not those that were written"):
        KernelFile.open(path)


def test_changed_attributes_and_labels(tmp_path):
    path = tmp_path / "k.h5"
    made(path)
    changes = (lambda file: file.attrs.modify("w_std", 2.5), lambda file: file["row_labels"].write_direct(np.ones(23)))
    for change in changes:
        intact = path.read_bytes()
        with h5py.File(path, "r+") as file:
            change(file)
        with pytest.raises(CheckpointError, match="labels, indices or attributes are not those that were written"):
            KernelFile.open(path)
        path.write_bytes(intact)


def test_a_file_that_another_program_has_written_anew(tmp_path):
    path = tmp_path / "k.h5"
    made(path)
    with h5py.File(path) as old, h5py.File(tmp_path / "new.h5", "w") as new:
        new.attrs.update(old.attrs)
        for name in old.keys() - {"kernel"}:
            old.copy(name, new)
        new.create_dataset("kernel", data=old["kernel"], chunks=(23, 4))
    with pytest.raises(CheckpointError, match="another program has written it anew"):
        KernelFile.open(tmp_path / "new.h5")


def test_a_file_of_another_version(tmp_path):
    made(tmp_path / "k.h5")
    with h5py.File(tmp_path / "k.h5", "r+") as file:
        file.attrs["hpcdistill_kernel"] = 1
    with pytest.raises(CheckpointError, match="it has version 1, this hpcdistill reads 2"):
        KernelFile.open(tmp_path / "k.h5")


@pytest.mark.parametrize("content", [b"", b"text", bytes(5000)])
def test_what_is_no_hdf5_file(tmp_path, content):
    (tmp_path / "k.h5").write_bytes(content)
    with pytest.raises(CheckpointError, match="is no kernel of `hpcdistill kernel`, or damaged"):
        KernelFile.open(tmp_path / "k.h5")


def test_flipped_bits_of_its_structures(tmp_path):
    """Each is noticed, or harmless."""
    path, rng = tmp_path / "k.h5", np.random.default_rng(0)
    file, matrix = made(path)
    intact = path.read_bytes()
    structures = [place for place in range(len(intact)) if not 0 <= place - file.tiles_from < 36 * 128]
    for place in rng.choice(structures, 8, replace=False):
        path.write_bytes(intact)
        damage(path, int(place))
        try:
            found = KernelFile.open(path).read(range(23), range(23))
        except CheckpointError:
            continue
        np.testing.assert_array_equal(found, matrix)


def test_many_tiles_have_their_places_at_once(tmp_path):
    """It took a time that grew with the square of their number: half a minute for these."""
    path, n = tmp_path / "k.h5", 235
    started = time.perf_counter()
    create(path, (n, n), np.dtype("f8"), 1, is_symmetric=False, attributes={}, arrays={})
    file = KernelFile.open(path)
    for tile in ((0, 0), (100, 7), (n - 1, n - 1)):
        file.write(tile, np.full((1, 1), tile[1]))
    assert time.perf_counter() - started < 5
    with h5py.File(path) as plain:
        assert [plain["kernel"][tile] for tile in ((0, 0), (100, 7), (n - 1, n - 1))] == [0, 7, n - 1]


def test_a_checkpoint_is_wanted(tmp_path):
    made(tmp_path / "k.h5")
    with pytest.raises(CheckpointError, match="k.h5: is a kernel, which `hpcdistill kernel` or .* no checkpoint"):
        read_checkpoint(tmp_path / "k.h5")


def test_checksums_are_those_of_the_bytes(tmp_path):
    file, matrix = made(tmp_path / "k.h5", (8, 8))
    for i, j in itertools.product(range(2), repeat=2):
        block = np.ascontiguousarray(matrix[4 * i : 4 * i + 4, 4 * j : 4 * j + 4])
        assert file.checksums()[i, j] == zlib.crc32(block.tobytes()) + 2**32


@pytest.mark.parametrize("name", ["a" * 300, "/".join(["a" * 200] * 30), "file/k.h5", "nowhere/k.h5"])
def test_places_where_there_can_be_no_file(tmp_path, name):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"[Gg]ive another place"):
        is_there(tmp_path / name)


@pytest.mark.parametrize("tile", [0, -1, 1.5, "8", True, None, 1 << 15])
def test_sides_of_tiles(tile):
    with pytest.raises(ConfigError, match="tile must be a whole number from 1 to 16384"):
        check_side(tile)
    assert check_side(np.int64(7)) == 7


def test_too_many_tiles():
    check_count(1, (2048, 2048))
    with pytest.raises(ConfigError, match="Give larger ones"):
        check_count(1, (2049, 2048))
