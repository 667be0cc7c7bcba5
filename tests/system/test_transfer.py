"""`hpcdistill transfer` end to end: what it says and writes, on any number of ranks, and what it refuses."""

import json
import shutil

import numpy as np
import pytest
from launch import run
from once import check_unchanged, once
from refused import check_refused
from test_numerical_failure import check_numerical

from hpcdistill.io.evaluation_records import read_evaluations

QUICK = ("--width", "64", "--steps", "300", "--seeds", "2", "--natural-draws", "3")


@pytest.fixture(scope="module")
def measured_run(finished_run, tmp_path_factory):
    """A run on which the command was used: `0.txt`, `0.json` are what it said without a launcher, `2.…` on 2 ranks."""

    def make(folder):
        shutil.copytree(finished_run, folder, symlinks=True, dirs_exist_ok=True)
        for ranks in (0, 2):
            result = run("transfer", folder / "out/latest.h5", *QUICK, "--json", folder / f"{ranks}.json", ranks=ranks)
            assert result.code == 0, result.stderr
            (folder / f"{ranks}.txt").write_text(result.stdout)

    yield (folder := once(tmp_path_factory, "measured", make))
    check_unchanged(folder)


@pytest.fixture(scope="module")
def measured(measured_run):
    """What the command says and writes, by number of ranks."""
    return {
        ranks: ((measured_run / f"{ranks}.txt").read_text(), json.loads((measured_run / f"{ranks}.json").read_text()))
        for ranks in (0, 2)
    }


def test_distilled_and_natural_images_are_compared(measured, measured_run):
    text, figures = measured[0]
    distilled, natural = figures["distilled"], figures["natural"]
    assert (distilled["images"], natural["images"], figures["test_images"]) == (10, 10, 500)
    assert (len(distilled["accuracies"]), len(natural["accuracies"])) == (2, 3)
    assert len(set(natural["accuracies"])) == 3
    assert all(0.2 < accuracy < 1 for accuracy in distilled["accuracies"] + natural["accuracies"])
    assert all(0 < rate < 10 for rate in distilled["learning_rates"] + natural["learning_rates"])
    assert figures["parameters"] == 64 * 64 + 64 + 64 * 10 + 10
    for kind in (distilled, natural):
        mean, spread = np.mean(kind["accuracies"]), np.std(kind["accuracies"], ddof=1)
        assert f"test accuracy {mean:.2%} ± {spread:.2%}, {len(kind['accuracies'])} networks" in text
    for words in ("10 distilled images", "10 natural images", "FC1 of width 64 (standard", "300 steps"):
        assert words in text
    assert f"{measured_run / 'out/latest.h5'}" in text


def test_the_number_of_ranks_changes_nothing(measured):
    alone, together = (
        {key: value for key, value in figures.items() if key != "date"} for _, figures in measured.values()
    )
    assert alone == together


def test_the_run_keeps_the_figures(measured, measured_run):
    records = read_evaluations(measured_run / "out")
    (record,) = [record for record in records if record["kind"] == "transfer" and record["width"] == 64]
    _, figures = measured[2]
    assert record["distilled"] == figures["distilled"]["accuracies"]
    assert record["natural"] == figures["natural"]["accuracies"]
    assert (record["steps"], record["parameterization"], record["images"]) == (300, "standard", 10)


def test_another_network(run_copy):
    layers = "conv relu pool flatten dense"
    result = run("transfer", run_copy / "out/latest.h5", "--architecture", layers, "--parameterization", "ntk",
                 "--width", "8", "--steps", "40", "--batch", "6", "--seeds", "1", "--l2", "1e-3")  # fmt: skip
    assert result.code == 0, result.stderr
    assert f"{layers} of width 8 (ntk parameterization" in result.stdout
    assert "1 network, learning rate" in result.stdout


@pytest.mark.parametrize("ranks", [0, 2])
def test_divergence_is_told_with_its_remedy(run_copy, ranks):
    arguments = ["transfer", run_copy / "out/latest.h5", *QUICK, "--learning-rate", "1e4"]
    check_numerical(run(*arguments, ranks=ranks), "diverged by step", "Lower --learning-rate")


@pytest.mark.parametrize("ranks", [0, 2])
def test_networks_that_do_not_fit_memory(run_copy, ranks):
    arguments = ["transfer", run_copy / "out/latest.h5", "--architecture", "FC2", "--width", "10000000"]
    words = ["FC2 of width 10000000", "parameters", "GiB are free", "Lower --width or --batch"]
    check_refused(arguments, words, ranks, run_copy)


@pytest.mark.parametrize(("arguments", "words"), [
    (["--width", "0"], ["--width", "at least 1", "'0'"]),
    (["--width", "many"], ["--width", "whole number", "'many'"]),
    (["--learning-rate", "0"], ["--learning-rate", "above 0"]),
    (["--learning-rate", "fast"], ["--learning-rate", "above 0", "'fast'"]),
    (["--l2", "-1"], ["--l2", "at least 0"]),
    (["--parameterization", "mup"], ["--parameterization", "'mup'", "standard", "ntk"]),
    (["--architecture", "FD1"], ["'FD1'", "Valid: "]),
    (["--json", "/nowhere/t.json"], ["/nowhere/t.json", "--json"]),
    (["--set", "data.test_size=3"], ["data.test_size=3"]),
], ids=lambda words: words[0] if isinstance(words, list) else None)  # fmt: skip
def test_wrong_arguments(run_copy, arguments, words):
    check_refused(["transfer", run_copy / "out/latest.h5", *arguments], words, 0, run_copy)


def own_data(folder, shape=(8, 8), **arrays):
    labels = np.arange(60) % 10
    images = np.random.default_rng(0).integers(0, 255, (60, *shape), dtype=np.uint8)
    np.savez(folder / "own.npz", **({"images": images, "labels": labels} | arrays))
    return ["--set", f"data.name={folder / 'own.npz'}"]


@pytest.mark.parametrize("ranks", [0, 2])
def test_no_test_images(run_copy, ranks):
    arguments = ["transfer", run_copy / "out/latest.h5", *own_data(run_copy), "--set=data.test_share=0"]
    check_refused(arguments, ["own.npz", "no test split", "data.test_share"], ranks, run_copy)


def test_images_of_another_shape(run_copy):
    test = {"test_images": np.zeros((10, 6, 6), np.uint8), "test_labels": np.arange(10)}
    arguments = ["transfer", run_copy / "out/latest.h5", *own_data(run_copy, (6, 6), **test)]
    check_refused(arguments, ["own.npz", "(6, 6, 1)", "(8, 8, 1)", "distilled from"], 0, run_copy)


@pytest.mark.parametrize("ranks", [0, 2])
def test_a_missing_file(tmp_path, ranks):
    check_refused(["transfer", tmp_path / "nowhere.h5"], ["nowhere.h5", "no such file"], ranks, tmp_path)
