"""The package as it is built and installed where there is no MPI: all of the Python API, and runs on one process.

The wheel is built as `pip install .` builds it there, and installed with PyPI's h5py into an environment of its own,
which has this one's other packages, but not mpi4py.
"""

import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
from compiled import kept_copy
from launch import ENVIRONMENT
from once import once

ROOT = Path(__file__).parents[2]
H5PY = ROOT / ".venv/without-mpi"
COMMAND = ("-m", "hpcdistill")
#: What a wheel is built from.
SOURCES = ("CMakeLists.txt", "pyproject.toml", "README.md", "LICENSE", "hpcdistill")
#: Not taken over from this environment.
WITHOUT = ("mpi4py", "h5py", "hpcdistill", "_hpcdistill", "pip", "__pycache__", "__editable__")
#: The newest versions of symbols that Linux distributions of 2022 have: those of manylinux_2_34.
NEWEST = {"GLIBC": (2, 34), "GLIBCXX": (3, 4, 29), "CXXABI": (1, 3, 13), "GCC": (12,)}


def make(folder):
    """Fill a folder with `wheel/*.whl` and `env`, in which it is installed."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    environment = {"PATH": "/usr/bin:/bin:" + str(Path(sys.executable).parent), "HPCDISTILL_BUILD_MPI": "0"}
    with kept_copy(ROOT, SOURCES, "without-mpi") as copy:  # in which what is compiled stays
        build = ["wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "wheel", "-C",
                 f"build-dir={copy}.build", copy]  # fmt: skip
        subprocess.run([*pip, *build], check=True, env=environment, timeout=900)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
    (packages,) = (folder / "env/lib").glob("python*/site-packages")
    for path in Path(sysconfig.get_path("platlib")).iterdir():
        if not path.name.lower().startswith(WITHOUT) and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    wheels = [*(folder / "wheel").glob("*.whl"), *H5PY.glob("h5py-*.whl")]
    install = ["--python", folder / "env/bin/python", "install", "--no-deps", "--no-index", *wheels]
    subprocess.run([*pip, *install], check=True)


@pytest.fixture(scope="session")
def installed(tmp_path_factory):
    if not H5PY.exists():
        pytest.skip("PyPI's h5py was not downloaded: bash jobs/setup.sh --tests")
    return once(tmp_path_factory, "without-mpi", make)


@pytest.fixture
def call(installed, tmp_path):
    """Run Python with arguments in the environment without MPI; return what it prints, or says of an error."""
    python = installed / "env/bin/python"
    kept = {name: ENVIRONMENT[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if name in ENVIRONMENT}
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"} | kept

    def run(*arguments, code=0):
        done = subprocess.run([python, *map(str, arguments)], env=environment, cwd=tmp_path, text=True, check=False,
                              capture_output=True, timeout=300)  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    return run


def test_the_wheel_runs_on_other_linux_systems(installed):
    (engine,) = installed.glob("env/lib/python*/site-packages/hpcdistill/native/_engine*.so")
    assert not list(engine.parent.glob("_scalapack*.so"))
    table = subprocess.run(["readelf", "-V", engine], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"Name: (GLIBC|GLIBCXX|CXXABI|GCC)_([\d.]+)", table)
    assert found
    assert [pair for pair in found if tuple(map(int, pair[1].split("."))) > NEWEST[pair[0]]] == []


def test_a_kernel_matrix_for_a_support_vector_machine(call):
    told = call(
        "-c",
        """
import sys
from sklearn.datasets import load_digits
from sklearn.svm import SVC
from hpcdistill import NeuralKernel
digits = load_digits()
kernel = NeuralKernel("conv relu pool flatten dense", image_shape=(8, 8, 1))
machine = SVC(kernel=kernel).fit(digits.data[:300], digits.target[:300])
assert "mpi4py" not in sys.modules
print(machine.score(digits.data[1000:1300], digits.target[1000:1300]))""",
    )
    assert float(told) > 0.8


def test_kernel_ridge_regression_with_its_gradient_in_jax(call):
    told = call(
        "-c",
        """
import jax, jax.numpy as jnp
jax.config.update("jax_enable_x64", True)
import numpy as np
from hpcdistill import neural_tangents
kernel_fn = neural_tangents.kernel_fn("conv relu flatten dense")
rng = np.random.default_rng(0)
x_s, x_t, y_s, y_t = rng.normal(size=(3, 5, 5, 1)), rng.normal(size=(6, 5, 5, 1)), np.eye(3), rng.normal(size=(6, 3))
def loss(x):
    k_ss, k_ts = kernel_fn(x, None, "ntk"), kernel_fn(x_t, x, "ntk")
    return jnp.mean((k_ts @ jnp.linalg.solve(k_ss + 1e-2 * jnp.eye(3), y_s) - y_t) ** 2)
gradient, direction = jax.grad(loss)(x_s), rng.normal(size=x_s.shape)
by_differences = (loss(x_s + 1e-5 * direction) - loss(x_s - 1e-5 * direction)) / 2e-5
print(abs(float(jnp.sum(gradient * direction) / by_differences) - 1))""",
    )
    assert float(told) < 1e-6


def test_own_images_to_a_distilled_set_to_a_network(call):
    """PyTorch where it is installed, softmax regression in NumPy where it is not."""
    told = call(
        "-c",
        """
import importlib.util
import numpy as np
from sklearn.datasets import load_digits
import hpcdistill
images, labels = load_digits().images, load_digits().target
found = hpcdistill.distill(images[:800], labels[:800], images_per_class=2, test=(images[1300:], labels[1300:]),
                           config={"kernel.architecture": "FC1", "kip.steps": 40})
test = found.preprocess(images[1300:]).reshape(-1, 64)
if importlib.util.find_spec("torch"):
    import torch
    x, y = found.torch()
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.05)
    for _ in range(300):
        optimiser.zero_grad()
        torch.nn.functional.mse_loss(model(x), y).backward()
        optimiser.step()
    predicted = model(torch.from_numpy(test.astype("float32"))).detach().numpy()
else:
    x, y = found.images.reshape(-1, 64), found.labels
    weights = np.zeros((64, 10))
    for _ in range(300):
        weights -= 0.05 * x.T @ (x @ weights - y) / len(x)
    predicted = test @ weights
print((predicted.argmax(axis=1) == labels[1300:]).mean(), found.history["test_accuracy"][-1])""",
    )
    network, regression = map(float, told.split())
    assert network > 0.4
    assert regression > 0.85


def test_a_released_set_is_loaded_and_evaluated(call, tmp_path):
    told = call(
        "-c",
        """
import numpy as np, hpcdistill
from hpcdistill.data.readers import load_dataset
digits = load_dataset("digits")
found = hpcdistill.distill(digits.train.images, digits.train.labels, test=(digits.test.images, digits.test.labels),
                           config={"kernel.architecture": "FC1", "kip": {"steps": 5, "batch": 200}})
np.savez("theirs.npz", images=found.images, labels=found.labels)
again = hpcdistill.load("theirs.npz", "data.name=digits", "kernel.architecture=FC1")
assert np.array_equal(again.images, found.images)
predicted = again.predict(digits.test.images).argmax(axis=1)
print((predicted == digits.test.labels).mean(), found.history["test_accuracy"][-1])""",
    )
    one, other = told.splitlines()[-1].split()
    assert one == other
    settings = ["--set", "data.name=digits", "--set", "kernel.architecture=FC1"]
    assert f"test accuracy {float(one):.2%}" in call(*COMMAND, "evaluate", "theirs.npz", *settings)


def test_the_command_line_runs_on_one_process(call, tmp_path):
    (tmp_path / "c.toml").write_text('kip.steps = 3\nkip.batch = 100\nkernel.architecture = "FC1"\n')
    assert "ok    MPI        none (" in call(*COMMAND, "doctor")
    call(*COMMAND, "run", "c.toml", "--output", "out")
    assert "no finished step is lost" in call(
        *COMMAND, "run", "c.toml", "--output", "out", "--resume", "--set", "kip.steps=5"
    )
    assert "step                 5" in call(*COMMAND, "inspect", "out/latest.h5")
    call(*COMMAND, "export", "out/latest.h5", "--output", "set.npz")
    with np.load(tmp_path / "set.npz") as arrays:
        assert arrays["images"].shape == (100, 8, 8, 1)
    told = call(*COMMAND, "run", "c.toml", "--output", "other", "--set", "solve.method=scalapack", code=2)
    assert told.startswith("hpcdistill: error: there is no ScaLAPACK here")
