"""The measuring process: what it times, how large its blocks are, and how it is kept to its cores."""

import os
import subprocess
import sys
from statistics import median

import numpy as np
import pytest

from hpcdistill.bench import worker
from hpcdistill.bench.cases import Case, KernelRequest
from hpcdistill.bench.images import natural_images
from hpcdistill.bench.kernels import measure_apart
from hpcdistill.errors import ConfigError, HpcDistillError

CASE = Case("conv relu pool flatten dense", (4, 4, 1))


class Recorder:
    """A backend that notes what is asked of it."""

    name, dtype, device = "recorder", np.dtype("float32"), None

    def __init__(self, *_):
        self.calls = []

    def prepare(self, images):
        self.calls.append(("prepare", images.shape, images.dtype))
        return images

    def block(self, h1, h2):
        self.calls.append(("block", len(h1), len(h2)))
        return np.zeros((len(h1), len(h2)))

    def sweep(self, h1):
        return RecordingSweep(self, h1)


class RecordingSweep:
    """A sweep of the recorder, four columns at a time."""

    at_once = 4

    def __init__(self, recorder, h1):
        self._recorder, self._h1 = recorder, h1

    def block(self, h2):
        return self._recorder.block(self._h1, h2)

    def add(self, cotangent):
        self._recorder.calls.append(("add", cotangent.shape))

    def finish(self):
        self._recorder.calls.append(("finish",))
        return np.zeros(self._h1.shape)


def request(**changed):
    values = {"backend": "fc", "cases": (Case("FC1", (4, 4, 1)),), "dtypes": ("float32", "float64"),
              "operations": ("forward",), "rounds": 2, "seconds": 1e-3, "pairs": (2, 3), "with_peer": True}  # fmt: skip
    return KernelRequest(**(values | changed))


@pytest.fixture
def unrestricted(monkeypatch):
    """Measure in this process, without taking cores from the tests after this one."""
    monkeypatch.setattr(worker, "_restrict", lambda threads: None)
    monkeypatch.setattr(worker, "MATMUL_SIZE", 16)


def test_a_round_does_what_a_step_does():
    f32 = np.dtype("float32")
    prepared = [("prepare", (3, 4, 4, 1), f32), ("prepare", (5, 4, 4, 1), f32)]
    parts = [("block", 3, 4), ("add", (3, 4)), ("block", 3, 1), ("add", (3, 1)), ("finish",)]
    for with_vjp, wanted in ((False, [("block", 3, 5)]), (True, parts)):
        backend = Recorder()
        worker.block_call(backend, CASE, 3, 5, with_vjp=with_vjp)()
        assert backend.calls == [*prepared, *wanted]


@pytest.mark.parametrize(
    ("per_pair", "seconds", "wanted"),
    [(1e-3, 1.0, (10, 96)), (1.0, 1.0, (10, 16)), (1e-9, 1.0, (10, 2048)), (1e-3, 0.01, (10, 16))],
)
def test_columns_fill_a_round(monkeypatch, per_pair, seconds, wanted):
    monkeypatch.setattr(worker, "_seconds_once_warm", lambda b, c, rows, columns, vjp: per_pair * rows * columns)
    assert worker._fill_round(Recorder(), CASE, False, seconds) == wanted


@pytest.mark.parametrize(
    ("overhead", "per_pair", "wanted"), [(0.0, 0.2, 2), (0.0, 0.06, 4), (0.01, 1e-3, 16), (0.001, 1e-9, 128)]
)
def test_the_peer_gets_a_handful_of_pairs(monkeypatch, overhead, per_pair, wanted):
    monkeypatch.setattr(worker, "_seconds_once_warm", lambda b, c, rows, cols, vjp: overhead + per_pair * rows * cols)
    side = worker._fill_peer_round(Recorder(), CASE, False, 1.0)
    assert side == (wanted, wanted)


def test_rows_and_rounds_of_a_measurement(unrestricted, capsys):
    result = worker.measure(request(operations=("forward", "forward+vjp")), threads=1)
    rows, rounds = result["rows"], result["rounds"]
    assert [(r["operation"], r["backend"], r["dtype"]) for r in rows] == [
        (operation, backend, dtype)
        for operation in ("forward", "forward+vjp")
        for backend, dtype in (("fc", "float32"), ("fc", "float64"), ("tangents", "float64"))
    ]
    for row, round_ in zip(rows, rounds, strict=True):
        shared = ("backend", "dtype", "operation", "threads", "architecture", "shape")
        assert all(row[key] == round_[key] for key in shared)
        assert len(round_["seconds"]) == 2
        pairs = np.prod(round_["pairs"])
        assert row["seconds_per_entry"] == pytest.approx(median(round_["seconds"]) / pairs)
        assert row["entries_per_second"] == pytest.approx(1 / row["seconds_per_entry"])
    assert rounds[0]["pairs"] == [2, 3]
    assert rows[0]["ratio_to_neural_tangents"] == rows[2]["seconds_per_entry"] / rows[0]["seconds_per_entry"]
    assert set(result["matmul_gflops"]) == {"float32", "float64"}
    assert "FC1 4x4x1 forward+vjp" in capsys.readouterr().err


def test_without_a_peer_neural_tangents_is_not_measured(unrestricted):
    rows = worker.measure(request(with_peer=False, dtypes=("float64",)), threads=1)["rows"]
    assert [(row["backend"], row["ratio_to_neural_tangents"]) for row in rows] == [("fc", None)]


def test_the_device_names_the_backends_instruction_set(unrestricted, monkeypatch):
    monkeypatch.setattr(Recorder, "target", "avx1024", raising=False)
    monkeypatch.setattr("hpcdistill.kernels.fully_connected.FullyConnectedBackend", Recorder)
    (row,) = worker.measure(request(with_peer=False, dtypes=("float32",)), threads=1)["rows"]
    assert row["device"].endswith(", avx1024")


def test_a_backend_with_other_threads_is_not_measured(unrestricted, monkeypatch):
    monkeypatch.setattr(Recorder, "threads", 3, raising=False)
    monkeypatch.setattr("hpcdistill.kernels.fully_connected.FullyConnectedBackend", Recorder)
    with pytest.raises(RuntimeError, match="uses 3 threads, not 1"):
        worker.measure(request(with_peer=False), threads=1)


def test_the_process_is_restricted_before_anything_sizes_its_threads():
    program = (
        "import os, sys\n"
        "from hpcdistill.bench import worker\n"
        "heavy = {'numpy', 'jax', 'scipy', 'mpi4py'} & set(sys.modules)\n"
        "worker._restrict(1)\n"
        "print(sorted(heavy), len(os.sched_getaffinity(0)), os.environ['OMP_NUM_THREADS'],"
        " os.environ.get('OPENBLAS_NUM_THREADS'))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "7", "OPENBLAS_NUM_THREADS": "7"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "[] 1 1 None\n"


def test_errors_of_the_measuring_process_arrive_here(monkeypatch):
    cores = os.sched_getaffinity(0)
    with pytest.raises(ConfigError, match="fully connected networks only"):
        measure_apart(request(cases=(CASE,)), 1)
    monkeypatch.setattr("hpcdistill.bench.kernels.measure", _die)
    with pytest.raises(HpcDistillError, match=r"was killed.*--pairs"):
        measure_apart(request(), 1)
    assert os.sched_getaffinity(0) == cores


def _die(request, threads):
    os.kill(os.getpid(), 9)


def test_images_are_standardised_smooth_and_seeded():
    images = natural_images(20, (16, 16, 3), 1)
    np.testing.assert_allclose(images.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(images.std(axis=(0, 1, 2)), 1)
    assert (images[:, 1:] * images[:, :-1]).mean() > 0.5
    np.testing.assert_array_equal(images, natural_images(20, (16, 16, 3), 1))
    assert not np.array_equal(images, natural_images(20, (16, 16, 3), 2))
    assert np.isfinite(natural_images(1, (1, 1, 1), 0)).all()
