"""Wrong input ends a run at once, with exit code 2 and one line that says what is wrong and what to do."""

import gzip
import os
import shutil
import struct
import subprocess

import h5py
import numpy as np
import pytest
from launch import run, write_config
from refused import check_refused

CASES = {}


def case(*words, ranks=2):
    """Register a function that makes a bad input in a folder and returns the arguments; `words` name the trouble."""

    def register(function):
        CASES[function.__name__] = (function, words, ranks)
        return function

    return register


def own_file(folder, **changed):
    """Write a small data set of three classes, with some arrays replaced, and return its path."""
    rng = np.random.default_rng(0)
    arrays = {"images": rng.random((30, 8, 8)), "labels": np.arange(30) % 3,
              "test_images": rng.random((6, 8, 8)), "test_labels": np.arange(6) % 3}  # fmt: skip
    path = folder / "own.npz"
    np.savez(path, **(arrays | changed))
    return path


def run_on(folder, name, *settings, **sections):
    """Arguments of a run on a data set."""
    data = {"name": str(name)} | sections.pop("data", {})
    config = write_config(folder / "c.toml", data=data, kip={"batch": 9, "steps": 2}, **sections)
    return ["run", config, "--output", folder / "out", *(f"--set={setting}" for setting in settings)]


def run_on_digits(folder, *settings, **sections):
    return ["run", write_config(folder / "c.toml", **sections), "--output", folder / "out",
            *(f"--set={setting}" for setting in settings)]  # fmt: skip


def mnist(folder, **changed):
    """Write a tiny MNIST, gzipped, with some files' content replaced, and return the arguments of a run on it."""
    root = folder / "data"
    root.mkdir()
    for split in ("train", "t10k"):
        contents = {"images": idx(np.zeros((20, 28, 28))), "labels": idx(np.arange(20) % 10)}
        if split == "train":
            contents |= changed
        for kind, content in contents.items():
            name = f"{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte.gz"
            (root / name).write_bytes(content if content[:2] == b"\x1f\x8b" else gzip.compress(content))
    return run_on(folder, "mnist", data={"root": str(root)})


def idx(array):
    """An array as an IDX file."""
    return struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


@case("own.npz", "no such file")
def missing_data_file(folder):
    return run_on(folder, folder / "own.npz")


@case("mnist", "train-images-idx3-ubyte", "prepare mnist", ranks=3)
def missing_data_folder(folder):
    return run_on(folder, "mnist", data={"root": str(folder / "nowhere")})


@case("train-images-idx3-ubyte.gz", "truncated gzip", "fetch it again")
def truncated_gzip(folder):
    return mnist(folder, images=gzip.compress(idx(np.zeros((20, 28, 28))))[:-20])


@case("own.npz", "not a readable .npz file", "numpy.savez", ranks=3)
def corrupted_data_file(folder):
    path = own_file(folder)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = b"\xff" * len(content[len(content) // 2 :])
    path.write_bytes(content)
    return run_on(folder, path)


@case("own.h5", "not a readable HDF5 file", ranks=0)
def truncated_hdf5_data(folder):
    path = folder / "own.h5"
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((30, 8, 8), np.uint8)
        file["labels"] = np.arange(30) % 3
    path.write_bytes(path.read_bytes()[:-500])
    return run_on(folder, path)


@case("train-labels-idx1-ubyte.gz", "wrong magic number 0x00000803", "exchanged")
def images_in_place_of_labels(folder):
    return mnist(folder, labels=idx(np.zeros((20, 28, 28))))


@case("train-images-idx3-ubyte.gz", "20 images but 19 labels")
def counts_differ(folder):
    return mnist(folder, labels=idx(np.arange(19) % 10))


@case("train-images-idx3-ubyte.gz", "label 10 at index 3", "0…9", ranks=3)
def label_out_of_range(folder):
    labels = np.arange(20) % 10
    labels[3] = 10
    return mnist(folder, labels=idx(labels))


@case("own.npz", "'labels'", "negative", "Number the classes", ranks=0)
def negative_label(folder):
    return run_on(folder, own_file(folder, labels=np.arange(30) % 3 - 1))


@case("own.npz", "'images'", "1 NaN or infinite pixel", "(4, 2, 1, 0)")
def nan_pixels(folder):
    images = np.zeros((30, 8, 8))
    images[4, 2, 1] = np.nan
    return run_on(folder, own_file(folder, images=images))


@case("own.npz", "'test_images'", "2 NaN or infinite pixel", ranks=3)
def infinite_pixels(folder):
    images = np.zeros((6, 8, 8))
    images[1, 2, :2] = np.inf, -np.inf
    return run_on(folder, own_file(folder, test_images=images))


@case("own.npz", "has no test split", "data.test_share")
def nothing_to_measure_krr_on(folder):
    images = np.random.default_rng(0).random((30, 8, 8))
    np.savez(folder / "own.npz", images=images, labels=np.arange(30) % 3)
    return run_on(folder, folder / "own.npz", "method=krr", "data.test_share=0")


@case("conv relu pool pool pool pool flatten dense", "8×8", "fewer poolings")
def image_too_small(folder):
    return run_on_digits(folder, "kernel.architecture=conv relu pool pool pool pool flatten dense")


@case("support.images_per_class=4", "class 2", "3 training images", "Use at most 3", ranks=3)
def class_too_small(folder):
    labels = np.array([0] * 14 + [1] * 13 + [2] * 3)
    return run_on(folder, own_file(folder, labels=labels), "support.images_per_class=4")


@case("support of 20 images", "kip.batch=10", "Lower support.images_per_class or raise kip.batch")
def support_larger_than_batch(folder):
    return run_on_digits(folder, "support.images_per_class=2", "kip.batch=10")


@case("kip.batch=5000", "at most", ranks=0)
def batch_larger_than_data(folder):
    return run_on_digits(folder, "kip.batch=5000")


@case("kip.patience", "needs a validation split", ranks=2)
def patience_without_validation(folder):
    return run_on_digits(folder, "kip.patience=3")


@case("dgits", "digits")
def unknown_dataset(folder):
    return run_on(folder, "dgits")


@case("kip.stepz", "did you mean 'kip.steps'", "kip.patience", ranks=3)
def unknown_key(folder):
    return run_on_digits(folder, kip={"stepz": 3})


@case("'kipp'", "did you mean 'kip'", ranks=0)
def unknown_section(folder):
    return run_on_digits(folder, kipp={"steps": 3})


@case("kernel.backend 'nosuch'", "Valid: auto, ")
def unknown_backend(folder):
    return run_on_digits(folder, "kernel.backend=nosuch")


@case("kernel.architecture 'FD1'", "Valid: ", ranks=0)
def unknown_architecture(folder):
    return run_on_digits(folder, "kernel.architecture=FD1")


@case("--set: kip.steps must be a whole number, not 'many'", ranks=3)
def wrong_type(folder):
    return run_on_digits(folder, "kip.steps=many")


@case("solve.reg must be finite and at least 0, not -1.0", ranks=0)
def value_out_of_range(folder):
    return run_on_digits(folder, "solve.reg=-1")


@case("--set 'kip.steps'", "section.key=value")
def setting_without_value(folder):
    return run_on_digits(folder, "kip.steps")


@case("nowhere.toml", "no such file", "Give a configuration")
def missing_config(folder):
    return ["run", folder / "nowhere.toml", "--output", folder / "out"]


@case("c.toml", "not valid TOML", ranks=0)
def config_not_toml(folder):
    path = folder / "c.toml"
    path.write_text("kip = [steps\n")
    return ["run", path, "--output", folder / "out"]


@case("nowhere.h5", "no such file", "latest.h5")
def evaluate_missing_checkpoint(folder):
    return ["evaluate", folder / "nowhere.h5"]


@case("c.h5", "cannot be read as HDF5", ranks=3)
def evaluate_not_hdf5(folder):
    (folder / "c.h5").write_bytes(b"hello" * 1000)
    return ["evaluate", folder / "c.h5"]


@case("nowhere.h5", "no such file", "latest.h5", ranks=0)
def inspect_missing_checkpoint(folder):
    return ["inspect", folder / "nowhere.h5"]


@case("nowhere.h5", "no such file", "latest.h5", ranks=0)
def export_missing_checkpoint(folder):
    return ["export", folder / "nowhere.h5"]


@case("c.h5", "cannot be read as HDF5", ranks=0)
def inspect_not_hdf5(folder):
    (folder / "c.h5").write_bytes(b"hello" * 1000)
    return ["inspect", folder / "c.h5"]


@case("other.h5", "was not written by hpcdistill", ranks=0)
def inspect_foreign_hdf5(folder):
    with h5py.File(folder / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    return ["inspect", folder / "other.h5"]


@pytest.mark.parametrize("name", CASES)
def test_refused_alone(name, tmp_path):
    make, words, _ = CASES[name]
    check_refused(make(tmp_path), words, 0, tmp_path)


@pytest.mark.parametrize("name", [name for name, (_, _, ranks) in CASES.items() if ranks])
def test_refused_together(name, tmp_path):
    make, words, ranks = CASES[name]
    check_refused(make(tmp_path), words, ranks, tmp_path)


USAGE = [(["frobnicate"], ["'frobnicate'", "choose from", "run"]), (["run"], ["CONFIG.toml"]), ([], ["COMMAND"]),
         (["run", "c.toml", "--output", ""], ["--output", "is empty"])]  # fmt: skip


@pytest.mark.parametrize("ranks", [0, 2])
@pytest.mark.parametrize(
    ("arguments", "words"), USAGE, ids=["unknown command", "no configuration", "nothing", "an empty name"]
)
def test_wrong_usage(arguments, words, ranks, tmp_path):
    check_refused(arguments, words, ranks, tmp_path)


@pytest.mark.parametrize("ranks", [0, 3])
def test_resume_with_another_architecture(run_copy, ranks):
    arguments = ["run", run_copy / "c.toml", "--output", run_copy / "out", "--resume", "--set=kernel.architecture=FC2"]
    check_refused(arguments, [str(run_copy / "out"), "kernel.architecture: 'FC1' → 'FC2'", "--output"], ranks, run_copy)


@pytest.mark.parametrize("ranks", [0, 2])
def test_output_in_use(run_copy, ranks):
    arguments = ["run", run_copy / "c.toml", "--output", run_copy / "out"]
    check_refused(arguments, [str(run_copy / "out"), "holds a run already", "--resume"], ranks, run_copy)


@pytest.fixture(scope="module")
def without_privileges(tmp_path_factory):
    """What to put before a command so that permissions hold for it: root is above them."""
    if os.geteuid() != 0:
        return []
    prefix = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all"]
    folder = tmp_path_factory.mktemp("locked")
    folder.chmod(0o555)
    if not shutil.which("setpriv") or subprocess.run([*prefix, "true"], check=False).returncode:
        pytest.skip("root cannot give up its privileges here: no setpriv, or it is refused")
    if subprocess.run([*prefix, "touch", folder / "x"], stderr=subprocess.DEVNULL, check=False).returncode == 0:
        pytest.skip("root may write everywhere here, even without its privileges")
    return prefix


@pytest.mark.parametrize("ranks", [0, 2])
def test_no_permission_to_write(tmp_path, without_privileges, ranks):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    arguments = ["run", write_config(tmp_path / "c.toml"), "--output", locked / "out"]
    words = [str(locked / "out"), "Permission denied", "--output"]
    check_refused(arguments, words, ranks, tmp_path, prefix=without_privileges)


def test_no_permission_to_read(run_copy, without_privileges):
    checkpoint = (run_copy / "out/latest.h5").resolve()
    checkpoint.chmod(0)
    result = run("inspect", checkpoint, prefix=without_privileges)
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
    checkpoint.parent.chmod(0)
    result = run("inspect", checkpoint, prefix=without_privileges)
    checkpoint.parent.chmod(0o755)
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr


def test_export_to_a_folder_that_is_not_there(finished_run, tmp_path):
    output = tmp_path / "nowhere/report.html"
    result = run("export", finished_run / "out/latest.h5", "--format", "html", "--output", output)
    assert (result.code, len(result.error_lines)) == (4, 1), result.stderr
    assert f"{output}: cannot be written" in result.error_lines[0]
    assert not output.parent.exists()


def test_output_is_a_file(tmp_path):
    (tmp_path / "out").write_text("mine")
    arguments = ["run", write_config(tmp_path / "c.toml"), "--output", tmp_path / "out"]
    check_refused(arguments, [str(tmp_path / "out"), "cannot be written to", "--output"], 0, tmp_path)
