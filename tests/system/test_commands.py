"""What each sub-command does with a finished run, and the ways in which a run ends by itself."""

import json

import numpy as np
import pytest
from launch import percentage, run, succeed, write_config
from own_files import read_own
from PIL import Image


def history(path, name):
    """A column of a run's history, where it has been measured."""
    column = read_own(path).arrays[f"history/{name}"]
    return column[np.isfinite(column)]


def test_inspect_one(finished_run):
    text = succeed("inspect", finished_run / "out/latest.h5")
    for words in ("latest.h5 -> step-000004.h5", "/support/images", "(10, 8, 8, 1)", 'architecture = "FC1"', "FC1"):
        assert words in text
    assert f"{history(finished_run / 'out/latest.h5', 'test_accuracy')[-1]:.2%}" in text


def test_inspect_several(finished_run):
    first, last = finished_run / "out/checkpoints/step-000000.h5", finished_run / "out/latest.h5"
    rows = succeed("inspect", first, last).splitlines()[-2:]
    accuracy = history(last, "test_accuracy")
    for path, value, row in zip((first, last), accuracy[[0, -1]], rows, strict=True):
        assert f"{value:.2%} " in row
        assert row.split()[-1] == str(path)


def test_inspect_several_says_of_which_step_an_accuracy_is(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 2, "evaluate_every": 2}, checkpoint={"every": 1})
    succeed("run", config, "--output", tmp_path / "out")
    saved = [tmp_path / f"out/checkpoints/step-00000{step}.h5" for step in range(3)]
    rows = succeed("inspect", *saved).splitlines()[-3:]
    assert [row.partition("%")[2].split()[:3] == ["at", "step", "0"] for row in rows] == [False, True, False]


def test_inspect_tells_runs_apart_by_their_settings(tmp_path):
    config = write_config(tmp_path / "c.toml", method="label_solve", label_solve={"method": "normal"})
    for name, settings in {"a": (), "b": ("--set=label_solve.method=qr",), "c": ("--set=method=krr",)}.items():
        succeed("run", config, "--output", tmp_path / name, *settings)
    title, *rows = succeed("inspect", *(tmp_path / name / "latest.h5" for name in "abc")).splitlines()[-4:]
    assert title.split()[:4] == ["support", "images", "steps", "label_solve.method"]
    assert [row.split()[-4] for row in rows[:2]] == ["normal", "qr"]
    assert "label_solve" not in succeed("inspect", *(tmp_path / name / "latest.h5" for name in "bc"))


def test_a_run_that_ends_worse_than_it_began_says_so(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 2, "evaluate_every": 2})
    words = "the images are worse than those it began with"
    assert words not in succeed("run", config, "--output", tmp_path / "good")
    assert words in succeed("run", config, "--output", tmp_path / "bad", "--set=kip.learning_rate=1e3")


@pytest.mark.parametrize("ranks", [0, 2])
def test_plan_measures_what_is_not_known(tmp_path, monkeypatch, ranks):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = write_config(tmp_path / "c.toml")
    refused = run("plan", config, "--device", "h200", ranks=ranks)
    assert refused.code == 2
    assert len(refused.error_lines) == 1
    planned = json.loads(succeed("plan", config, "--ranks", "1", "--json", ranks=ranks))
    assert planned["rows"][0]["step_seconds"] > 0
    (kept,) = json.loads((tmp_path / "hpcdistill/rates.json").read_text()).values()
    assert kept["entries"].keys() == {"FC1 8x8x1 float32", "FC1 8x8x1 float64"}
    for speed in kept["entries"].values():
        assert min(speed.values()) > 0
    assert kept["gflops"].keys() == {"float32", "float64"}


BEGINNINGS = {"npz": b"PK", "png": b"\x89PNG", "html": b"<!DOCTYPE html>"}


def test_export_npz(finished_run, tmp_path):
    succeed("export", finished_run / "out/latest.h5", "--output", tmp_path / "set.npz")
    arrays = read_own(finished_run / "out/latest.h5").arrays
    with np.load(tmp_path / "set.npz") as exported:
        assert exported["images"].shape == (10, 8, 8, 1)
        assert exported["images"].dtype == np.uint8
        np.testing.assert_array_equal(exported["labels"], arrays["support/labels"])
        np.testing.assert_array_equal(exported["images_preprocessed"], arrays["support/images"])
        assert exported["class_names"].tolist() == list("0123456789")
        assert exported["history_step"].tolist() == [0, 1, 2, 3, 4]


def test_export_png(run_copy):
    assert "step-000004.png" in succeed("export", run_copy / "out/latest.h5", "--format", "png")
    with Image.open(run_copy / "out/checkpoints/step-000004.png") as sheet:
        width, height = sheet.size
        assert width >= 10 * 64
        assert height >= 2 * 64
        assert len(sheet.getcolors(1 << 24)) > 10


def test_export_html(run_copy):
    """With what `evaluate` has measured, and alone, away from its run's folder."""
    file = run_copy / "out/latest.h5"
    accuracy = percentage(succeed("evaluate", file, "--kernel", "FC2"))
    assert "step-000004.html" in succeed("export", file, "--format", "html")
    text = (run_copy / "out/checkpoints/step-000004.html").read_text()
    final = f"{history(file, 'test_accuracy')[-1]:.2%}"
    for words in ("<h1>KIP on digits: 10 images</h1>", f"<td>{final} (step 4)</td>", "FC2 NTK", accuracy, "steps = 4"):
        assert words in text
    assert "http://" not in text
    assert "https://" not in text
    alone = run_copy / "alone.h5"
    alone.write_bytes(file.read_bytes())
    succeed("export", alone, "--format", "html")
    assert "FC2" not in (run_copy / "alone.html").read_text()
    assert list(run_copy.rglob("*.tmp")) == []


@pytest.mark.parametrize("form", ["npz", "png", "html"])
def test_export_to_a_name_of_any_ending(finished_run, tmp_path, form):
    succeed("export", finished_run / "out/latest.h5", "--format", form, "--output", tmp_path / "set")
    assert (tmp_path / "set").read_bytes().startswith(BEGINNINGS[form])
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize("form", ["npz", "png", "html"])
def test_export_to_what_the_name_ends_with(finished_run, tmp_path, form):
    output = tmp_path / f"set.{form.upper()}"
    succeed("export", finished_run / "out/latest.h5", "--output", output)
    assert output.read_bytes().startswith(BEGINNINGS[form])


def test_export_where_the_name_contradicts_the_format(finished_run, tmp_path):
    result = run("export", finished_run / "out/latest.h5", "--format", "npz", "--output", tmp_path / "set.png")
    assert (result.code, len(result.error_lines)) == (2, 1), result.stderr
    assert "set.png: ends as a file of format png, and --format is npz" in result.error_lines[0]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ranks", [0, 2])
def test_evaluate_agrees_with_the_run(run_copy, ranks):
    path = run_copy / "out/latest.h5"
    assert percentage(succeed("evaluate", path, ranks=ranks)) == f"{history(path, 'test_accuracy')[-1]:.2%}"


def test_evaluate_where_the_backend_of_the_run_cannot_be_used(tmp_path):
    """As where a set was made on a GPU, and there is none; here it cannot serve the network."""
    config = write_config(tmp_path / "c.toml", kernel={"architecture": "FC1", "backend": "fc"})
    succeed("run", config, "--output", tmp_path / "out", "--set", "kip.steps=0")
    file = tmp_path / "out/latest.h5"
    said = succeed("evaluate", file, "--kernel", "FC2", "--kernel", "Conv-Vec1", ranks=2)
    assert "kernel.backend 'fc', which the set was made with, cannot be used here: auto in its place" in said
    assert said.count("test accuracy") == 2
    asked = run("evaluate", file, "--kernel", "Conv-Vec1", "--set", "kernel.backend=cuda")
    assert (asked.code, len(asked.error_lines)) == (2, 1), asked.stderr
    assert "kernel.backend 'cuda' cannot serve" in asked.error_lines[0]


def test_evaluate_with_another_kernel(run_copy):
    texts = [succeed("evaluate", run_copy / "out/latest.h5", "--kernel", "FC2", ranks=ranks) for ranks in (0, 2)]
    assert "FC2 NTK" in texts[0]
    assert percentage(texts[0]) == percentage(texts[1])


@pytest.mark.parametrize("command", ["inspect", "export", "prepare", "jobs"])
def test_commands_of_one_process_act_once_under_a_launcher(finished_run, tmp_path, monkeypatch, command):
    monkeypatch.setenv("HPCDISTILL_STATE", str(tmp_path))
    file = finished_run / "out/latest.h5"
    arguments = {
        "inspect": [file],
        "export": [file, "--output", tmp_path / "set.npz"],
        "prepare": ["digits"],
        "jobs": [],
    }
    last = succeed(command, *arguments[command]).splitlines()[-1]
    assert last
    assert succeed(command, *arguments[command], ranks=2).splitlines().count(last) == 1


def test_prepare(tmp_path):
    text = succeed("prepare", "digits", "--root", tmp_path)
    assert "1297 training and 500 test images of 8×8×1" in text
    np.savez(tmp_path / "own.npz", images=np.random.default_rng(0).random((4, 5, 6, 3)), labels=[0, 1, 0, 1])
    assert "3 training and 1 test images of 5×6×3" in succeed("prepare", tmp_path / "own.npz")


@pytest.mark.parametrize("ranks", [0, 2])
def test_doctor(ranks):
    text = succeed("doctor", ranks=ranks)
    assert f"{max(ranks, 1)} rank(s)" in text
    assert all(line.startswith("ok") for line in text.splitlines()), text


HELP = {
    "run": ["mpirun -n 4", "--resume", "kernel.architecture", "support.images_per_class", "default"],
    "plan": ["--ranks", "--profile", "--device", "--measure", "--json"],
    "submit": ["--profile", "--sweep", "--wait", "--dry-run", "resources.partition", "restart.max_restarts"],
    "jobs": ["newest checkpoint"],
    "cancel": ["KillWait", "submit --resume"],
    "evaluate": ["mpirun", "latest.h5", "--kernel", "--natural"],
    "transfer": ["mpirun", "--width", "--parameterization", "--natural-draws", "cosine decay", "largest stable"],
    "reproduce": ["mpirun", "--cell", "jobs/paper", "--seeds"],
    "inspect": ["latest.h5"],
    "export": ["latest.h5", "images_preprocessed", "png", "html"],
    "prepare": ["digits, mnist", "x_train"],
    "doctor": ["mpirun"],
    "bench": ["kernels", "step", "neural-tangents"],
}


def test_help():
    everything = succeed("--help")
    for command, words in HELP.items():
        assert command in everything
        text = " ".join(succeed(command, "--help").split())
        assert [word for word in words if word not in text] == [], command


def test_early_stopping_keeps_the_best_step(tmp_path):
    config = write_config(tmp_path / "c.toml", data={"validation": 200},
                          kip={"steps": 200, "evaluate_every": 1, "patience": 3, "learning_rate": 0.3})  # fmt: skip
    succeed("run", config, "--output", tmp_path / "out")
    accuracy = history(tmp_path / "out/latest.h5", "validation_accuracy")
    last, best = (read_own(tmp_path / f"out/{name}.h5") for name in ("latest", "best"))
    assert best.attributes["step"] == accuracy.argmax()
    assert last.attributes["step"] == accuracy.argmax() + 3 == len(accuracy) - 1 < 200


@pytest.mark.parametrize("ranks", [0, 2])
def test_krr_on_all_training_images(tmp_path, ranks):
    config = write_config(tmp_path / "c.toml", method="krr", support={"images_per_class": 0}, solve={"reg": 1e-3})
    text = succeed("run", config, "--output", tmp_path / "out", ranks=ranks)
    assert "1297 natural images" in text
    assert history(tmp_path / "out/latest.h5", "test_accuracy")[0] > 0.9
    assert len(read_own(tmp_path / "out/latest.h5").arrays["support/images"]) == 1297


def test_krr_draws_differ(tmp_path):
    config = write_config(tmp_path / "c.toml", method="krr", krr={"draws": 3})
    assert "over 3 draws" in succeed("run", config, "--output", tmp_path / "out")
    assert len(set(history(tmp_path / "out/latest.h5", "test_accuracy"))) == 3


def test_label_solve_is_better_than_its_natural_labels(tmp_path):
    accuracy = []
    for method in ("krr", "label_solve"):
        config = write_config(tmp_path / f"{method}.toml", method=method, krr={"draws": 1})
        succeed("run", config, "--output", tmp_path / method)
        accuracy.append(history(tmp_path / method / "latest.h5", "test_accuracy")[-1])
    assert accuracy[1] > accuracy[0]


def test_log_that_a_run_appends_to_keeps_what_it_held(tmp_path):
    log = tmp_path / "log.txt"
    log.write_text("before\n")
    config = write_config(tmp_path / "c.toml")
    with log.open("a") as file:
        assert run("run", config, "--output", tmp_path / "out", ranks=2, stdout=file).code == 0
    lines = log.read_text().splitlines()
    assert lines[0] == "before"
    assert lines[1].startswith("kip on digits")
