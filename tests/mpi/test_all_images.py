"""Ridge regression on all training images: by factors, by iteration, from a file, against its definition in NumPy."""

import numpy as np
import pytest

from hpcdistill.attempt import StopSignal
from hpcdistill.config import parse_config, why_not_resumed
from hpcdistill.errors import CheckpointError, ConfigError, NotPositiveDefiniteError, NumericalError
from hpcdistill.learning import kernel_operator
from hpcdistill.methods.krr import METHOD, all_images, matrix, solve
from hpcdistill.mpi.collectives import on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.kernel_experiment import Wanted, compute
from hpcdistill.run.loop import run_method
from hpcdistill.run.stop import Boundary
from hpcdistill.run.store import MemoryStore

REGS = (1e-6, 1e-8, 1e-2, 1.0)
COMMON = ["method=krr", "support.images_per_class=0", "kernel.architecture=FC1", "data.train_size=160",
          "data.test_size=100", "kernel.precision=float64"]  # fmt: skip
WAYS = {
    "factors": [],
    "one copy over the ranks": ["solve.method=scalapack"],
    "factors in float32": ["krr.precision=float32", "solve.method=scalapack", "krr.tolerance=1e-11"],
    "iteration": ["krr.solver=conjugate_gradients", "krr.rank=60", "krr.tolerance=1e-11"],
    "iteration, nothing kept": ["krr.solver=conjugate_gradients", "krr.rank=0", "krr.keep_gib=0",
                                "krr.tolerance=1e-11"],
}  # fmt: skip


def configuration(*settings):
    return parse_config("", [*COMMON, f"krr.regs={list(REGS[1:])}", *settings])


class Kept(MemoryStore):
    """Keeps every checkpoint."""

    def __init__(self):
        super().__init__()
        self.all = []

    def save(self, comm, step, checkpoint):
        super().save(comm, step, checkpoint)
        self.all.append(checkpoint)


def run(comm, *settings, resumed=None):
    experiment = load_experiment(comm, configuration(*settings), Reporter(False))
    store = Kept()
    run_method(experiment, store, resumed, Boundary(StopSignal(), lambda text: None))
    return experiment, store


def expected(experiment):
    """Weights, accuracies and losses at each ridge from their definition."""
    x_s, y_s = experiment.natural_support(np.sort(experiment.pool.indices))
    targets = experiment.test_targets()
    x_t, y_t = targets.fetch(0, targets.count)
    backend = experiment.kernels.ss
    handle = backend.prepare(x_s)
    k_ss, k_ts = backend.block(handle, handle), backend.block(backend.prepare(x_t), handle)
    mean = np.trace(k_ss) / len(x_s)
    weights = [np.linalg.solve(k_ss + reg * mean * np.eye(len(x_s)), y_s) for reg in REGS]
    predictions = [k_ts @ w for w in weights]
    accuracies = [(p.argmax(1) == y_t.argmax(1)).mean() for p in predictions]
    return weights, accuracies, [0.5 * np.mean((p - y_t) ** 2) for p in predictions]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_is_the_definition(comm, monkeypatch, way):
    monkeypatch.setattr(kernel_operator, "TILE", 64)
    experiment, store = run(comm, *WAYS[way])
    weights, accuracies, losses = expected(experiment)
    arrays = store.newest.arrays
    np.testing.assert_array_equal(arrays["krr/regs"], REGS)
    bound = 1e-4 if "float32" in way else 1e-7  # entries of K_ss are rounded to float32
    for i, w in enumerate(weights):
        np.testing.assert_allclose(arrays["krr/weights"][i], w, atol=bound * np.abs(w).max())
    np.testing.assert_allclose(arrays["krr/test_accuracy"], accuracies)
    np.testing.assert_allclose(arrays["krr/test_loss"], losses, rtol=bound)
    assert (arrays["krr/residual"] < 1e-10).all()
    assert arrays["history/test_accuracy"].tolist() == [accuracies[0]]


@pytest.mark.parametrize("way", ["one copy over the ranks", "iteration"])
def test_it_goes_on_from_any_checkpoint_bit_for_bit(comm, monkeypatch, way):
    monkeypatch.setattr(all_images, "_SAVE_SECONDS", 0.0)
    _, whole = run(comm, *WAYS[way])
    assert len(whole.all) > 4
    for name, column in METHOD.sweep(whole.all[1].arrays).figures.items():  # what `inspect` shows of it on the way
        assert np.isfinite(column).any(), name
    if way == "iteration":
        found = METHOD.sweep(whole.all[1].arrays).figures
        assert list(found) == ["steps", "residual"]
        assert (found["steps"] == whole.all[1].arrays["krr/iterated_step"][0]).all()
        assert (found["residual"] > 1e-11).any()
    for checkpoint in (whole.all[1], whole.all[len(whole.all) // 2], whole.all[-2], whole.all[-1]):
        _, resumed = run(comm, *WAYS[way], resumed=checkpoint)
        newest = resumed.newest or checkpoint
        for name in ("weights", "test_accuracy", "test_loss", "residual"):
            np.testing.assert_array_equal(newest.arrays[f"krr/{name}"], whole.newest.arrays[f"krr/{name}"])


@pytest.mark.parametrize("way", ["factors", "iteration"])
def test_ridges_are_added_to_a_finished_run(comm, way):
    _, whole = run(comm, *WAYS[way])
    fewer = f"krr.regs={list(REGS[1:3])}"
    _, first = run(comm, *WAYS[way], fewer)
    assert why_not_resumed(configuration(*WAYS[way], fewer), configuration(*WAYS[way])) == ""
    _, more = run(comm, *WAYS[way], resumed=first.newest)
    for name, bound in {"weights": 1e-8, "test_accuracy": 0, "test_loss": 1e-8}.items():
        found, wanted = (store.newest.arrays[f"krr/{name}"] for store in (more, whole))
        np.testing.assert_allclose(found, wanted, rtol=0, atol=bound * np.abs(wanted).max())
    accuracy = more.newest.history()["test_accuracy"]
    assert np.isfinite(accuracy).sum() == 1
    for name in ("weights", "steps"):  # those that were there are not solved for again
        for i in range(3):
            np.testing.assert_array_equal(more.newest.arrays[f"krr/{name}"][i], first.newest.arrays[f"krr/{name}"][i])


@pytest.mark.parametrize("fewer", [[], [f"krr.regs={list(REGS[1:3])}"]], ids=["the same ridges", "and others"])
@pytest.mark.parametrize("way", ["iteration", "factors in float32"])
def test_a_tighter_tolerance_is_met_by_all_ridges(comm, way, fewer):
    _, loose = run(comm, *WAYS[way], "krr.tolerance=0.1", *fewer)
    _, tight = run(comm, *WAYS[way], resumed=loose.newest)
    assert (tight.newest.arrays["krr/residual"] < 1e-10).all()
    _, whole = run(comm, *WAYS[way])
    found, wanted = (store.newest.arrays["krr/weights"] for store in (tight, whole))
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-8 * np.abs(wanted).max())


@pytest.mark.parametrize("way", ["factors", "iteration, nothing kept"])
def test_the_kernel_may_come_from_a_file(comm, shared_tmp_path, monkeypatch, way):
    monkeypatch.setattr(kernel_operator, "TILE", 100)
    path, config = shared_tmp_path / "k.h5", configuration()
    compute(comm, config, Wanted("train", np.dtype(np.float64), 32), path, StopSignal(), compressed=False)

    def nothing(*arguments):
        raise AssertionError("a kernel that is there was computed")

    _, own = run(comm, *WAYS[way])
    monkeypatch.setattr(matrix, "computed", nothing)
    _, from_file = run(comm, *WAYS[way], f"krr.kernel_file={path}")
    weights = [store.newest.arrays["krr/weights"] for store in (own, from_file)]
    np.testing.assert_allclose(*weights, atol=1e-7 * np.abs(weights[0]).max())


@pytest.mark.parametrize(("settings", "message"), [
    (["kernel.b_std=0.2"], r"is another kernel \(kernel.b_std: 0.1 → 0.2\)"),
    (["data.train_size=120"], "is of other training images .160 images of digits. than this run's .120"),
    (["seed=1"], "is of other training images"),
    (["krr.kernel_file=nowhere.h5"], "no such file. `hpcdistill kernel"),
    ([], "1 of its 10 tiles are missing. `hpcdistill kernel CONFIG.toml --output k.h5`"),
])  # fmt: skip
def test_a_file_of_something_else(comm, shared_tmp_path, settings, message):
    path = shared_tmp_path / "k.h5"
    compute(comm, configuration(), Wanted("train", np.dtype(np.float64), 48), path, StopSignal(), compressed=False)
    if not settings:
        from hpcdistill.io.kernel_file import KernelFile

        on_root(comm, lambda: KernelFile.open(path).forget((1, 1)))
    with pytest.raises((CheckpointError, ConfigError), match=message):
        run(comm, f"krr.kernel_file={path}", *settings)


def test_a_ridge_at_which_the_kernel_is_singular_is_left_out(comm):
    """160 images of 8×8 pixels have a kernel of a linear network of rank 65 at most."""
    linear = ["kernel.architecture=flatten dense", "solve.method=scalapack"]
    _, store = run(comm, *linear, "krr.regs=[0.0, 1e-3]", "solve.reg=1e-4")
    assert store.newest.arrays["krr/is_singular"].tolist() == [0, 1, 0]
    assert np.isnan(store.newest.arrays["krr/test_accuracy"][1])
    assert (store.newest.arrays["krr/test_accuracy"][[0, 2]] > 0.5).all()
    with pytest.raises(NotPositiveDefiniteError):
        run(comm, *linear, "krr.regs=[1e-3]", "solve.reg=0")
    with pytest.raises(NumericalError, match="conjugate gradients"):
        run(comm, *linear, "krr.regs=[]", "solve.reg=0", "krr.solver=conjugate_gradients", "krr.most_steps=20")


@pytest.mark.parametrize("way", ["factors", "one copy over the ranks"])
def test_equal_images_of_different_classes_and_no_ridge(comm, shared_tmp_path, way):
    """Whether Cholesky ends or not is up to rounding; that what it gives solves nothing is found."""
    path, rng = shared_tmp_path / "twins.npz", np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (60, 8, 8, 1)).astype(np.uint8), np.arange(60) % 3
    images[[1, 5, 9]] = images[[0, 4, 8]]
    on_root(comm, lambda: np.savez(path, images=images, labels=labels, test_images=images, test_labels=labels))
    twins = [*WAYS[way], f"data.name={path}", "data.train_size=0", "data.test_size=0"]
    with pytest.raises(NumericalError, match="singular to rounding|not positive definite"):
        run(comm, *twins, "krr.regs=[]", "solve.reg=0")
    _, store = run(comm, *twins, "krr.regs=[0.0]", "solve.reg=1e-3")
    assert store.newest.arrays["krr/is_singular"].tolist() == [0, 1]


def test_a_solution_that_solves_nothing(comm):
    for residual in (1.4, np.nan):
        with pytest.raises(NumericalError, match="K_ss . λI is singular to rounding: its solution leaves .* solve.reg"):
            solve.check_residual(comm, residual)
    solve.check_residual(comm, 1e-4)


def test_what_does_not_fit_is_refused_with_what_would(comm, monkeypatch):
    monkeypatch.setattr(matrix, "available_bytes", lambda: 2**20)
    with pytest.raises(ConfigError, match=r"K_ss of 160 images .* are free. Use \d+ nodes .*conjugate_gradients"):
        run(comm)


@pytest.mark.parametrize("setting", ["krr.regs=[0.1]", "krr.solver=conjugate_gradients", "krr.kernel_file=k.h5"])
def test_settings_for_all_images_with_draws(setting):
    with pytest.raises(ConfigError, match=r"is for all training images: set support.images_per_class=0"):
        parse_config("", ["method=krr", setting])
