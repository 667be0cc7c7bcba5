"""`hpcdistill kernel`: the same file however often it was ended, and on however many ranks."""

import os
import signal
import subprocess
import sys

import h5py
import numpy as np
import pytest
from launch import SLOW_TILES, command_line, rank_processes, run, start, succeed, wait_until, write_config
from sklearn.svm import SVC
from test_full_disk import fill

from hpcdistill import NeuralKernel
from hpcdistill.data.readers import load_dataset
from hpcdistill.errors import CheckpointError
from hpcdistill.hdf5.new_file import NewFile
from hpcdistill.io.kernel_create import compress
from hpcdistill.io.kernel_file import KernelFile
from hpcdistill.kernels.native import supported_targets
from hpcdistill.whole_file import temporary_name

NETWORK = "conv relu conv relu pool flatten dense"
SHORT = "conv relu pool flatten dense"


def config(folder, **sections):
    data = {"data": {"name": "digits", "train_size": 700}} | sections
    return write_config(folder / "c.toml", kernel={"architecture": NETWORK}, **data)


def command(folder, *more, output="k.h5", tile=32):
    return ["kernel", folder / "c.toml", "--output", folder / output, "--tile", tile, *more]


def matrix(path):
    with h5py.File(path) as file:
        return file["kernel"][...]


def tiles_there(path):
    file = KernelFile.open(path)
    return len(file.tiles()) - len(file.missing())


def begin(folder, *more, ranks=2, at_least=5):
    """Start a computation, and return it when some tiles are there, but not all."""
    path = folder / "k.h5"
    process = start([*command_line(ranks, SLOW_TILES), *map(str, command(folder, *more))])
    wait_until(lambda: path.exists() and tiles_there(path) >= at_least, "tiles", process)
    return process


def end(process, number, ranks):
    for pid in rank_processes(process, ranks) if ranks > 1 else [process.pid]:
        os.kill(pid, number)
    return process.wait(timeout=60)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The file of one undisturbed process."""
    folder = tmp_path_factory.mktemp("whole")
    config(folder)
    succeed(*command(folder))
    return folder / "k.h5"


def test_it_is_the_kernel_of_the_images(whole):
    found, train = matrix(whole), load_dataset("digits").train
    with h5py.File(whole) as file:
        chosen, labels = file["row_index"][...], file["row_labels"][...]
        x = (train.images[chosen] - file["preprocess/mean"][...]) / file["preprocess/std"][...]
    np.testing.assert_array_equal(labels, train.labels[chosen])
    np.testing.assert_allclose(found, NeuralKernel(NETWORK)(x), rtol=1e-12)
    np.testing.assert_array_equal(found, found.T)
    assert "complete" in succeed("inspect", whole)


def test_killed_and_gone_on_with(whole, tmp_path):
    config(tmp_path)
    end(begin(tmp_path), signal.SIGKILL, 2)
    there = tiles_there(tmp_path / "k.h5")
    assert f"{there} of 253 tiles" in succeed("inspect", tmp_path / "k.h5")
    assert f"{there} of 253 tiles are there" in succeed(*command(tmp_path), ranks=3)
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), matrix(whole))


@pytest.mark.parametrize("ranks", [0, 2])
def test_stopped_by_a_signal(whole, tmp_path, ranks):
    config(tmp_path)
    assert end(begin(tmp_path, ranks=ranks), signal.SIGTERM, ranks) == 75
    assert 0 < tiles_there(tmp_path / "k.h5") < 253
    succeed(*command(tmp_path))
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), matrix(whole))


def test_whitened_images_stay_those_it_was_begun_with(tmp_path):
    """A matrix that other ranks fit would differ in the last digits."""
    config(tmp_path, preprocess={"zca": True})
    succeed(*command(tmp_path, output="whole.h5"), ranks=2)
    end(begin(tmp_path), signal.SIGKILL, 2)
    succeed(*command(tmp_path))
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), matrix(tmp_path / "whole.h5"))
    (tmp_path / "k.h5.zca.h5").unlink()
    (tmp_path / "whole.h5.zca.h5").rename(tmp_path / "k.h5.zca.h5")
    succeed(*command(tmp_path))


def test_two_writers_by_mistake(whole, tmp_path):
    config(tmp_path)
    processes = [start([*command_line(0), *map(str, command(tmp_path))]) for _ in range(2)]
    assert [process.wait(timeout=120) for process in processes] == [0, 0]
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), matrix(whole))


def test_two_configurations_at_once_on_one_file(tmp_path):
    """One of them gets the file, the other is refused: never do both write to it."""
    config(tmp_path)
    networks = (NETWORK, "FC3")
    started = [start([*command_line(0), *map(str, command(tmp_path, "--set", f"kernel.architecture={network}"))])
               for network in networks]  # fmt: skip
    codes = [process.wait(timeout=120) for process in started]
    assert sorted(codes) == [0, 2]
    winner = networks[codes.index(0)]
    succeed(*command(tmp_path, "--set", f"kernel.architecture={winner}", output="alone.h5"))
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), matrix(tmp_path / "alone.h5"))


def test_a_file_that_was_replaced_is_not_written_to(whole, tmp_path):
    """As where another process compresses it meanwhile."""
    path = tmp_path / "k.h5"
    path.write_bytes(whole.read_bytes())
    file = KernelFile.open(path)
    compress(KernelFile.open(path))
    with pytest.raises(CheckpointError, match="another process has put another file in its place"):
        file.write((1, 0), np.zeros((32, 32)))
    np.testing.assert_array_equal(matrix(path), matrix(whole))


def test_a_damaged_compressed_file_is_refused(whole, tmp_path):
    config(tmp_path)
    path = tmp_path / "k.h5"
    path.write_bytes(whole.read_bytes())
    compress(KernelFile.open(path))
    with h5py.File(path) as file:
        place = file["kernel"].id.get_chunk_info_by_coord((64, 32)).byte_offset
    with path.open("r+b") as raw:
        raw.seek(place + 50)
        raw.write(bytes(20))
    result = run(*command(tmp_path))
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
    assert "1 of its tiles are damaged, and it is compressed" in result.error_lines[0]


def test_a_link_that_leads_nowhere_yet(tmp_path):
    config(tmp_path, data={"name": "digits", "train_size": 20})
    (tmp_path / "k.h5").symlink_to(tmp_path / "real.h5")
    succeed(*command(tmp_path, "--compress"))
    assert (tmp_path / "k.h5").is_symlink()
    assert matrix(tmp_path / "real.h5").shape == (20, 20)


def test_damaged_tiles_are_computed_again(whole, tmp_path):
    config(tmp_path)
    path = tmp_path / "k.h5"
    path.write_bytes(whole.read_bytes())
    file = KernelFile.open(path)
    with path.open("r+b") as raw:
        raw.seek(file._tile_at((3, 1)) + 99)
        raw.write(b"oops")
    assert "1 of 253 tiles" in (said := succeed(*command(tmp_path), ranks=2))
    assert "damaged, and computed again" in said
    np.testing.assert_array_equal(matrix(path), matrix(whole))


def test_rows_of_test_images_for_an_estimator_of_scikit_learn(whole, tmp_path):
    config(tmp_path)
    succeed(*command(tmp_path, "--rows", "test", "--compress"), ranks=2)
    with h5py.File(whole) as train, h5py.File(tmp_path / "k.h5") as test:
        assert test["kernel"].compression == "gzip"
        classifier = SVC(kernel="precomputed").fit(train["kernel"][...], train["row_labels"][...])
        np.testing.assert_array_equal(test["column_index"][...], train["row_index"][...])
        accuracy = classifier.score(test["kernel"][...], test["row_labels"][...])
    assert accuracy > 0.9
    assert "compressed, complete" in succeed("inspect", tmp_path / "k.h5")
    succeed(*command(tmp_path, "--rows", "test"))  # there is nothing left to do


def test_more_ranks_than_tiles(tmp_path):
    config(tmp_path, data={"name": "digits", "train_size": 20})
    succeed(*command(tmp_path), ranks=3)
    assert matrix(tmp_path / "k.h5").shape == (20, 20)


@pytest.mark.parametrize(("more", "words", "ranks"), [
    (["--set", "kernel.architecture=FC1"], ["is another kernel", "kernel.architecture: 'conv relu", "→ 'FC1'"], 2),
    (["--set", "data.train_size=100"], ["data.train_size: 700 → 100"], 0),
    (["--dtype", "float32"], ["--dtype: 'float64' → 'float32'"], 0),
    (["--rows", "test"], ["rows: 'train' → 'test'"], 0),
])  # fmt: skip
def test_a_file_of_another_kernel(whole, tmp_path, more, words, ranks):
    config(tmp_path)
    (tmp_path / "k.h5").write_bytes(whole.read_bytes())
    result = run(*command(tmp_path, *more), ranks=ranks)
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
    assert all(word in result.error_lines[0] for word in words)
    assert (tmp_path / "k.h5").read_bytes() == whole.read_bytes()


def test_what_is_no_file_of_a_kernel(finished_run, tmp_path):
    config(tmp_path)
    for name, content in (("a.h5", (finished_run / "out/latest.h5").read_bytes()), ("b.h5", b"nothing")):
        (tmp_path / name).write_bytes(content)
        result = run(*command(tmp_path, output=name))
        assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
        assert f"{name}: is no kernel of `hpcdistill kernel`" in result.error_lines[0]
        assert (tmp_path / name).read_bytes() == content
    result = run(*command(tmp_path, output="."))
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
    assert "is a folder. Give the name of a file in it." in result.error_lines[0]
    for more in (["--tile", "0"], ["--output", tmp_path / "nowhere/k.h5"]):
        assert run(*command(tmp_path), *more).code == 2


@pytest.mark.parametrize("ranks", [0, 2])
def test_no_room(tmp_path, small_disk, ranks):
    config(tmp_path)
    result = run(*command(tmp_path, "--set=data.train_size=0", "--output", small_disk / "k.h5"), ranks=ranks)
    assert (result.code, len(result.error_lines)) == (4, 1), result.stderr
    assert "k.h5: cannot be written (no space left)" in result.error_lines[0]
    assert not list(small_disk.iterdir())
    fill(small_disk, 1 << 20)
    arguments = command(tmp_path, "--set=data.train_size=200", "--output", small_disk / "k.h5")
    succeed(*arguments, ranks=ranks)  # what is there has its room from the start


def refused(result, code, *words):
    """Check that a command has ended with a code and one line."""
    assert (result.code, len(result.error_lines)) == (code, 1), result.stderr
    assert "Traceback" not in result.stderr
    assert [word for word in words if word not in result.error_lines[0]] == [], result.error_lines[0]


@pytest.mark.parametrize(("left", "ranks"), [(0, 0), (300_000, 2), (1_500_000, 0)])
def test_no_room_to_compress(tmp_path, small_disk, left, ranks):
    """HDF5 ended the process by a signal here."""
    config(tmp_path, data={"name": "digits", "train_size": 480})
    arguments = command(tmp_path, "--output", small_disk / "k.h5", tile=240)
    succeed(*arguments)
    before = (small_disk / "k.h5").read_bytes()
    fill(small_disk, left)
    refused(run(*arguments, "--compress", ranks=ranks), 4, "k.h5: cannot be written (no space left)")
    assert sorted(path.name for path in small_disk.iterdir()) == ["ballast", "k.h5"]
    assert (small_disk / "k.h5").read_bytes() == before
    (small_disk / "ballast").unlink()
    succeed(*arguments, "--compress", ranks=ranks)


@pytest.mark.parametrize(("left", "ranks"), [(0, 0), (4096, 2), (20_000, 0)])
def test_no_room_for_the_matrix_that_whitens(tmp_path, small_disk, left, ranks):
    """HDF5 ended the process by a signal here, too. The matrix has 33 kB."""
    config(tmp_path, data={"name": "digits", "train_size": 50}, preprocess={"zca": True})
    fill(small_disk, left)
    arguments = command(tmp_path, "--output", small_disk / "k.h5")
    refused(run(*arguments, ranks=ranks), 4, "k.h5.zca.h5: cannot be written", "No space left")
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_leftovers_of_killed_processes_are_removed(tmp_path):
    config(tmp_path, data={"name": "digits", "train_size": 20})
    path, others = tmp_path / "k.h5", [tmp_path / "k.h5.mine.tmp", temporary_name(tmp_path / "other.h5")]
    left = [temporary_name(path), temporary_name(tmp_path / "k.h5.zca.h5")]
    for name in (*left, *others):
        name.write_bytes(b"unfinished")
    with NewFile(temporary_name(path)):  # which this process writes
        succeed(*command(tmp_path))
        assert len(list(tmp_path.glob("k.h5.*.tmp"))) == 2
    assert all(name.exists() for name in others)
    assert not any(name.exists() for name in left)
    succeed(*command(tmp_path))
    assert list(tmp_path.glob("k.h5.*.tmp")) == others[:1]


def compressing(folder):
    """Whether a process writes the compressed file."""
    return any(path.stat().st_size > 100_000 for path in folder.glob("k.h5.*.tmp"))


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 75), (signal.SIGKILL, -signal.SIGKILL)])
def test_ended_while_it_compresses(tmp_path, number, code):
    write_config(tmp_path / "c.toml", kernel={"architecture": "FC1"}, data={"name": "digits"})
    succeed(*command(tmp_path, tile=128))
    before = matrix(tmp_path / "k.h5")
    process = start([*command_line(0), *map(str, command(tmp_path, "--compress", tile=128))])
    wait_until(lambda: compressing(tmp_path), "a compressed file that is written", process, every=0.001)
    process.send_signal(number)
    assert process.wait(timeout=60) == code
    assert not KernelFile.open(tmp_path / "k.h5").is_compressed
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), before)
    succeed(*command(tmp_path, "--compress", tile=128))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml", "k.h5"]
    np.testing.assert_array_equal(matrix(tmp_path / "k.h5"), before)


def test_another_backend_does_not_go_on(whole, tmp_path):
    """It would compute other last digits."""
    config(tmp_path)
    path, before = tmp_path / "k.h5", whole.read_bytes()
    path.write_bytes(before)
    file = KernelFile.open(path)
    stored = file.attributes["backend"]
    assert stored == f"native {supported_targets()[0]}"
    succeed(*command(tmp_path, "--set", "kernel.backend=tangents"))  # there is nothing left to do
    file.forget((3, 1))
    for more, environment in ((["--set", "kernel.backend=tangents"], {}),
                              ([], {"HPCDISTILL_NATIVE_TARGET": supported_targets()[-1]})):  # fmt: skip
        result = run(*command(tmp_path, *more), prefix=["env", *(f"{k}={v}" for k, v in environment.items())])
        refused(result, 2, f"k.h5: was begun with backend '{stored}'", "differs in the last digits")
    succeed(*command(tmp_path, "--set", "kernel.backend=native"))
    assert path.read_bytes() == before


def test_ranks_of_different_backends(tmp_path):
    config(tmp_path)
    program = (
        "import os, sys\nif os.environ['OMPI_COMM_WORLD_RANK'] == '1': os.environ[{!r}] = {!r}\n"
        "from hpcdistill.__main__ import main\nsys.exit(main())".format(
            "HPCDISTILL_NATIVE_TARGET", supported_targets()[-1]
        )
    )
    result = run(*command(tmp_path), ranks=2, program=(sys.executable, "-c", program))
    refused(result, 2, "kernel.backend: rank 0 would use 'native", "and others 'native")
    assert not (tmp_path / "k.h5").exists()


def test_a_kernel_that_is_not_finite(tmp_path):
    config(tmp_path, data={"name": "digits", "train_size": 20})
    result = run(*command(tmp_path, "--set", f"kernel.architecture={SHORT}", "--set", "kernel.w_std=1e100"))
    refused(result, 3, "is not finite", "Use smaller kernel.w_std")
    assert tiles_there(tmp_path / "k.h5") == 0


def test_other_data_than_it_was_begun_with(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), dtype=np.uint8)
    config(tmp_path, data={"name": str(tmp_path / "own.npz"), "train_size": 20})
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(40) % 2)
    succeed(*command(tmp_path))
    np.savez(tmp_path / "own.npz", images=images, labels=np.arange(40) // 20)
    words = ("images or labels are not those that the kernel in", "k.h5 was begun with", "another file with --output")
    refused(run(*command(tmp_path)), 2, *words)


@pytest.mark.parametrize("name", ["inspect", "evaluate", "transfer", "export"])
def test_a_kernel_where_a_checkpoint_is_wanted(whole, tmp_path, name):
    arguments = [name, whole, whole] if name == "inspect" else [name, whole]
    refused(run(*arguments), 2, f"{whole}: is a kernel, which `hpcdistill kernel`", "and no checkpoint")


def test_damaged_labels(whole, tmp_path):
    config(tmp_path)
    path = tmp_path / "k.h5"
    path.write_bytes(whole.read_bytes())
    with h5py.File(path) as file:
        place = file["row_labels"].id.get_offset()
    with path.open("r+b") as raw:
        raw.seek(place)
        raw.write(b"oops")
    for ranks, arguments in ((2, command(tmp_path)), (0, ["inspect", path])):
        refused(run(*arguments, ranks=ranks), 2, "labels, indices or attributes are not those that were written")


def test_what_a_damaged_file_is_told_to_have(whole, tmp_path):
    """Both images of a tile count as one, and checking as no computing."""
    config(tmp_path)
    path = tmp_path / "k.h5"
    path.write_bytes(whole.read_bytes())
    file = KernelFile.open(path)
    with path.open("r+b") as raw:
        for tile in ((3, 1), (1, 3), (5, 0)):
            raw.seek(file._tile_at(tile))
            raw.write(b"oops")
    said = succeed(*command(tmp_path))
    assert "2 of 253 tiles in" in said
    assert "251 of 253 tiles are there" in said
    np.testing.assert_array_equal(matrix(path), matrix(whole))


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_disk_that_is_only_read(tmp_path, small_disk, ranks):
    config(tmp_path, data={"name": "digits", "train_size": 40})
    for name in ("k.h5", "part.h5"):
        succeed(*command(tmp_path, "--output", small_disk / name))
    KernelFile.open(small_disk / "part.h5").forget((1, 0))
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    succeed(*command(tmp_path, "--output", small_disk / "k.h5"), ranks=ranks)  # there is nothing left to do
    for name, more in (("part.h5", []), ("k.h5", ["--compress"]), ("new.h5", [])):
        result = run(*command(tmp_path, "--output", small_disk / name, *more), ranks=ranks)
        refused(result, 4, f"{name}: cannot be written (Read-only file system)")
