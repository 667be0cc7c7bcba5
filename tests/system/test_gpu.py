"""Whole commands where kernels are a GPU's: a stand-in's, whose source and arrays are the same (with_gpu.py)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from launch import run, write_config
from own_files import read_own

WITH_GPU = (sys.executable, str(Path(__file__).with_name("with_gpu.py")))
NETWORK = "conv relu pool flatten dense"
SMALL = {"data": {"name": "digits", "test_size": 20}, "kernel": {"architecture": NETWORK, "precision": "float64"},
         "kip": {"steps": 2, "batch": 20, "evaluate_every": 2}}  # fmt: skip
AWARE = "HPCDISTILL_GPU_AWARE_MPI"


def succeed(*arguments, program=WITH_GPU, ranks=0):
    result = run(*arguments, program=program, ranks=ranks, timeout=120)
    assert result.code == 0, result.stderr
    return result


@pytest.mark.parametrize("method", ["kip", "label_solve"])
def test_a_run_ends_as_on_cpus_and_says_where_it_was(tmp_path, monkeypatch, method):
    train = {"train_size": 40} if method == "label_solve" else {}
    config = write_config(tmp_path / "c.toml", method, **SMALL | {"data": SMALL["data"] | train})
    monkeypatch.setenv(AWARE, "1")
    result = succeed("run", config, "--output", tmp_path / "gpu", ranks=2)
    succeed("run", config, "--output", tmp_path / "cpu", program=(sys.executable, "-m", "hpcdistill"))
    assert "backend cuda (float64), ranks 2" in result.stdout + result.stderr
    assert "trying MPI on the memory of GPUs" in result.stdout + result.stderr
    gpu, cpu = (read_own(tmp_path / name / "latest.h5").arrays for name in ("gpu", "cpu"))
    for name in ("support/images", "support/labels"):
        np.testing.assert_allclose(gpu[name], cpu[name], rtol=0, atol=1e-6 * np.abs(cpu[name]).max())
    np.testing.assert_array_equal(gpu["history/test_accuracy"], cpu["history/test_accuracy"])


def test_doctor_names_the_gpu_and_how_ranks_add_up(monkeypatch):
    for value, sums in (("0", f"sums through the host ({AWARE}=1 if"), ("1", "sums in its memory")):
        monkeypatch.setenv(AWARE, value)
        (line,) = [line for line in succeed("doctor", ranks=2).stdout.splitlines() if " GPU " in line]
        assert line.startswith("ok")
        assert "fibers on a CPU (host, 1 GiB), 5×5 Cholesky with residual" in line
        assert sums in line


def test_a_wrong_setting_is_refused_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setenv(AWARE, "yes")
    config = write_config(tmp_path / "c.toml", **SMALL)
    result = run("run", config, "--output", tmp_path / "out", program=WITH_GPU, ranks=2)
    assert result.code == 2
    assert result.error_lines == [
        f"hpcdistill: error: {AWARE}='yes' must be 1, where the MPI library is GPU-aware, or 0."
    ]
    assert not (tmp_path / "out").exists()


def test_kernels_and_steps_are_measured(tmp_path):
    kernels, step = tmp_path / "kernels.json", tmp_path / "step.json"
    succeed("bench", "kernels", "--backend", "cuda", "--architecture", f"{NETWORK}@4x4x1", "--dtype", "float32",
            "--rounds", "1", "--seconds", "0.001", "--pairs", "2x3", "--json", kernels)  # fmt: skip
    rows = json.loads(kernels.read_text())["rows"]
    assert [(row["backend"], row["operation"]) for row in rows] == [
        (backend, operation) for operation in ("forward", "forward+vjp") for backend in ("cuda", "tangents")
    ]
    assert rows[0]["device"].endswith(", fibers on a CPU")
    succeed("bench", "step", "--architecture", NETWORK, "--shape", "4x4x1", "--targets", "20", "--images", "4",
            "--rounds", "1", "--json", step, ranks=2)  # fmt: skip
    rows = json.loads(step.read_text())["rows"]
    assert [(row["backend"], row["ranks"]) for row in rows] == [("cuda", 1), ("cuda", 2)]
    assert all(0 < row["kernel_share"] <= 1 for row in rows)
