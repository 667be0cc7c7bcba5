"""The command `bench`: tables, files, refusals. Nothing here asserts a time."""

import json

import pytest
from launch import run
from refused import check_refused

TINY = "conv relu pool flatten dense"
KERNELS = ("bench", "kernels", "--backend", "tangents", "--architecture", f"{TINY}@4x4x1", "--dtype", "float64",
           "--operation", "forward", "--threads", "1", "--rounds", "1", "--seconds", "0.005")  # fmt: skip
STEP = ("bench", "step", "--architecture", "FC1", "--shape", "4x4x1", "--targets", "20", "--rounds", "1")


def test_kernels(tmp_path):
    path = tmp_path / "kernels.json"
    path.write_text("old")
    result = run(*KERNELS, "--json", path)
    assert result.code == 0, result.stderr
    content = json.loads(path.read_text())
    assert set(content) == {"command", "rows", "rounds", "sgemm_gflops", "cores", "load_average_before", "versions"}
    assert [(row["backend"], row["threads"], row["shape"]) for row in content["rows"]] == [("tangents", 1, "4x4x1")] * 2
    assert content["rows"][1]["ratio_to_neural_tangents"] == 1.0
    assert set(content["sgemm_gflops"]["1"]) == {"float64"}
    assert {"python", "numpy", "jax", "neural-tangents"} <= set(content["versions"])
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["architecture", "shape", "operation"]
    assert [line.split()[-5] for line in lines[1:3]] == [
        "%.3g" % (1e3 * r["seconds_per_entry"]) for r in content["rows"]
    ]
    assert f"{TINY} 4x4x1 forward" in result.stderr
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("ranks", [0, 3])
def test_step(tmp_path, ranks):
    path = tmp_path / "step.json"
    result = run(*STEP, "--images", "4", "6", "4", "--json", path, ranks=ranks)
    assert result.code == 0, result.stderr
    content = json.loads(path.read_text())
    assert set(content) == {"command", "rows", "rounds", "cores_of_rank_0", "versions"}
    counts = [1, 2, 3] if ranks else [1]
    assert [(row["images"], row["ranks"]) for row in content["rows"]] == [(n, r) for n in (4, 6) for r in counts]
    assert {row["threads"] for row in content["rows"]} == {1}
    assert "\x1b" not in result.stdout
    table = [line.split() for line in result.stdout.splitlines()]
    assert table[0][:4] == ["images", "targets", "ranks", "threads/rank"]
    assert [line[:4] for line in table[1 : 1 + 2 * len(counts)]] == [
        [str(n), "20", str(r), "1"] for n in (4, 6) for r in counts
    ]


REFUSED = {
    "form": (["kernels", "--architecture", "Foo@3x3"], ["'3x3'", "HEIGHTxWIDTHxCHANNELS"], 0),
    "architecture": (["kernels", "--architecture", "Foo@4x4x1"], ["'Foo'", "Valid: FC<depth>"], 0),
    "backend": (["kernels", "--backend", "natve"], ["'natve'", "Valid: auto, fc"], 0),
    "backend that cannot": (["kernels", "--backend", "fc"], ["'ConvNet'", "fully connected networks only"], 0),
    "threads": (["kernels", "--threads", "1000"], ["--threads 1000", "Give at most"], 0),
    "rounds": (["kernels", "--rounds", "0"], ["--rounds", "at least 1", "bench kernels --help"], 0),
    "seconds": (["kernels", "--seconds", "nan"], ["--seconds", "above 0"], 0),
    "file": (["kernels", "--json", "nowhere/x.json"], ["nowhere/x.json", "--json"], 0),
    "mpirun": (["kernels"], ["without mpirun"], 2),
    "what": ([], ["WHAT"], 2),
    "step's architecture": (["step", "--architecture", "Foo"], ["'Foo'", "Valid: FC<depth>"], 2),
    "step's shape": (["step", "--shape", "32x32"], ["--shape", "HEIGHTxWIDTHxCHANNELS"], 2),
    "step's small images": (["step", "--shape", "4x4x3"], ["'ConvNet'", "3 poolings"], 2),
    "step's backend": (["step", "--backend", "natve"], ["'natve'", "Valid: auto, fc"], 2),
    "step's images": (["step", "--images", "0"], ["--images", "at least 1"], 2),
    "more than memory": (["step", "--images", "100000000000000"], ["out of memory on", "fewer ranks per node"], 2),
    "step's file": (["step", "--json", "nowhere/x.json"], ["nowhere/x.json", "--json"], 2),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_measured(name, tmp_path):
    arguments, words, ranks = REFUSED[name]
    check_refused(["bench", *arguments], words, ranks, tmp_path)
    if arguments[:1] == ["step"]:
        check_refused(["bench", *arguments], words, 0, tmp_path)
