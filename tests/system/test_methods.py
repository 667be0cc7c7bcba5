"""The papers' settings end to end: ZCA, augmentation, corruption, sampled kernels, evaluation beside natural images."""

import re
import shutil
import sys

import h5py
import numpy as np
import pytest
from kill_loop import Job, differences
from launch import ACTING, run, write_config
from once import check_unchanged, once
from own_files import read_own

from hpcdistill.io.evaluation_records import read_evaluations

SETTINGS = {
    "preprocess": {"zca": True},
    "augment": {"rotation": 10.0, "shift": 0.1, "channel_shift": 0.1, "unchanged": 0.2},
    "kip": {"steps": 12, "evaluate_every": 6, "architectures": ["FC1", "FC2"]},
    "support": {"images_per_class": 1, "corruption": 0.25},
    "checkpoint": {"every": 4},
}


def finished(folder, name, ranks=0, **sections):
    job = Job(write_config(folder / f"{name}.toml", **SETTINGS | sections), folder / name, ranks)
    job.finish()
    return job


@pytest.fixture(scope="module")
def kept_run(tmp_path_factory):
    """A finished run with these settings, not to be changed."""
    folder = once(tmp_path_factory, "papers", lambda folder: finished(folder, "out"))
    yield Job(folder / "out.toml", folder / "out", 0)
    check_unchanged(folder)


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory):
    """The same without noise in its images."""
    folder = once(tmp_path_factory, "clean", lambda folder: finished(folder, "out", support={"images_per_class": 1}))
    yield Job(folder / "out.toml", folder / "out", 0)
    check_unchanged(folder)


def copy_of(job, folder):
    """A run that a test may change."""
    shutil.copytree(job.output, folder / "copy", symlinks=True)
    return Job(job.config, folder / "copy", job.ranks)


def arrays(job):
    return read_own(job.output / "latest.h5").arrays


def test_all_of_it_on_any_number_of_ranks(tmp_path):
    float64 = {"kernel": {"precision": "float64"}}
    alone, together = (finished(tmp_path, f"on-{ranks}", ranks, **float64) for ranks in (0, 3))
    a, b = arrays(alone), arrays(together)
    np.testing.assert_allclose(a["support/images"], b["support/images"], atol=1e-7)
    np.testing.assert_array_equal(a["history/test_accuracy"], b["history/test_accuracy"])
    assert a["history/test_accuracy"][-1] > a["history/test_accuracy"][0]


def test_a_resumed_run_is_the_undisturbed_one(tmp_path):
    whole = finished(tmp_path, "whole", 2)
    parts = finished(tmp_path, "parts", 2, kip=SETTINGS["kip"] | {"steps": 5})
    resumed = Job(whole.config, parts.output, 2)
    resumed.finish(resume=True)
    assert [name for name in differences(whole, resumed) if not name.startswith("history/")] == []


CROSS_ENTROPY = {"kip": {"steps": 12, "evaluate_every": 6, "loss": "cross_entropy", "temperature": 5.0, "warmup": 3,
                         "schedule": "cosine", "batch": 50, "last_batch": 200, "average": 0.5},
                 "checkpoint": {"every": 4, "keep": 9}}  # fmt: skip


def test_cross_entropy_on_a_schedule_is_resumed_bit_for_bit(tmp_path):
    whole = Job(write_config(tmp_path / "c.toml", **CROSS_ENTROPY), tmp_path / "whole", 2)
    whole.finish()
    parts = Job(whole.config, tmp_path / "parts", 2)
    shutil.copytree(whole.output, parts.output, symlinks=True)
    for step in (8, 12):
        (parts.output / f"checkpoints/step-{step:06d}.h5").unlink()
    parts.finish(resume=True)
    assert [name for name in differences(whole, parts) if not name.startswith("history/seconds")] == []
    temperature = arrays(whole)["history/temperature"]
    assert np.isnan(temperature[0])
    assert len(set(temperature[1:])) == 12
    assert temperature[-1] == np.exp(arrays(whole)["kip/log_temperature"][0])
    assert run("export", whole.output / "latest.h5", "--format", "html", "--output", tmp_path / "r.html").code == 0
    assert "cross-entropy of predictions multiplied by a temperature" in (tmp_path / "r.html").read_text()
    assert "temperature" in run("inspect", whole.output / "latest.h5").stdout
    longer = run(*whole.arguments, "--resume", "--set=kip.steps=16", ranks=2)
    assert longer.code == 0, longer.stderr
    assert "from step 12 on the schedule is that of 16 steps in all, no longer of 12: rates 0% → 15%" in longer.stdout
    assert "step 12: kip.steps: 12 → 16" in read_own(whole.output / "latest.h5").attributes["changes"]


def test_the_last_supports_are_averaged(tmp_path):
    settings = {"kip": {"steps": 6, "average": 0.5, "evaluate_every": 3}, "checkpoint": {"every": 1, "keep": 9}}
    job = Job(write_config(tmp_path / "c.toml", **settings), tmp_path / "out", 0)
    plain = Job(write_config(tmp_path / "p.toml", **(settings | {"kip": {"steps": 6}})), tmp_path / "plain", 0)
    for each in (job, plain):
        each.finish()
    last = [read_own(path).arrays for path in sorted(plain.checkpoints())[-3:]]
    for name in ("images", "labels"):
        mean = np.mean([each[f"support/{name}"] for each in last], axis=0)
        np.testing.assert_allclose(arrays(job)[f"support/{name}"], mean, rtol=1e-12)
        np.testing.assert_array_equal(arrays(job)[f"kip/{name}"], arrays(plain)[f"support/{name}"])
    accuracy = re.search(r"test accuracy ([\d.]+)%", run("evaluate", job.output / "latest.h5").stdout)[1]
    assert float(accuracy) / 100 == pytest.approx(arrays(job)["history/test_accuracy"][-1], abs=5e-5)
    # A longer run begins its average anew, from where the steps had led.
    assert run(*job.arguments, "--resume", "--set=kip.steps=12").code == 0
    assert arrays(job)["kip/averaged"] == [6]


def test_a_time_instead_of_a_number_of_steps(tmp_path):
    """8 seconds, then 16, on steps that take 50 ms at least, then 4, which are over."""
    config = write_config(tmp_path / "c.toml", kip={"hours": 8 / 3600, "schedule": "cosine", "evaluate_every": 1000})
    output, program = tmp_path / "out", (sys.executable, str(ACTING), "slow=0.05", "-m", "hpcdistill")

    def run_for(seconds):
        arguments = ("--resume", f"--set=kip.hours={seconds / 3600}")
        result = run("run", config, "--output", output, *arguments, ranks=2, program=program)
        assert result.code == 0, result.stderr
        done = read_own(output / "latest.h5")
        assert done.arrays["kip/plan"][0] == done.attributes["step"]
        assert np.isfinite(done.arrays["history/test_accuracy"][-1])
        return result.stdout, done.attributes["step"]

    text, steps = run_for(8)
    assert re.search(r"^\d+ steps in the 8 s given|^the 8 s given are over", text, re.MULTILINE), text
    assert steps >= 3
    text, more = run_for(16)
    assert re.search(rf"in all, no longer of {steps}: rates \d+% → \d+% of the full ones", text), text
    assert more > steps
    text, same = run_for(4)
    assert re.search(r"^the 4 s given are over: \d+ s are gone", text, re.MULTILINE), text
    assert same == more


def test_zca_is_kept_once_and_named_by_the_checkpoints(tmp_path):
    job = finished(tmp_path, "out", 2)
    attributes = read_own(job.output / "latest.h5").attributes
    assert re.fullmatch("[0-9a-f]{64}", attributes["zca_sha256"])
    assert sorted(p.name for p in job.output.glob("*.h5")) == ["latest.h5", "preprocess.h5"]
    shown = arrays(job)["support/images_display"]
    assert shown.dtype == np.uint8
    assert shown.std() > 20
    export = ("export", job.output / "latest.h5", "--output", tmp_path / "set.npz")
    assert run(*export).code == 0
    with np.load(tmp_path / "set.npz") as exported, h5py.File(job.output / "preprocess.h5") as kept:
        np.testing.assert_array_equal(exported["zca_matrix"], kept["zca/matrix"][...])
    (tmp_path / "set.npz").unlink()
    shutil.move(job.output / "preprocess.h5", tmp_path / "elsewhere.h5")
    refused = run(*export)
    assert refused.code == 2
    assert "preprocess.h5: no such file. It holds the ZCA matrix" in refused.error_lines[0]
    assert not (tmp_path / "set.npz").exists()
    result = run("evaluate", job.output / "latest.h5")
    assert "ZCA was fitted anew" in result.stdout
    other = finished(tmp_path, "other", preprocess={"zca": True, "zca_reg": 0.5})
    shutil.copy(other.output / "preprocess.h5", job.output / "preprocess.h5")
    for command in (("evaluate", job.output / "latest.h5"), (*job.arguments, "--resume", "--set=kip.steps=14")):
        result = run(*command)
        assert result.code == 2
        (line,) = result.error_lines
        assert "preprocess.h5" in line


def test_noise_stays_what_it_is(kept_run):
    first = read_own(kept_run.output / "checkpoints/step-000000.h5").arrays["support/images"]
    last = arrays(kept_run)["support/images"]
    unchanged = (first == last).reshape(10, -1).sum(axis=1)
    assert unchanged.tolist() == [16] * 10


def test_a_run_can_start_from_another_one(tmp_path, clean_run):
    init = str(clean_run.output / "latest.h5")
    second = finished(tmp_path, "second", support={"images_per_class": 1, "init": init})
    start = read_own(second.output / "checkpoints/step-000000.h5").arrays
    np.testing.assert_array_equal(start["support/images"], arrays(clean_run)["support/images"])
    assert start["support/source_index"].tolist() == [-1] * 10


@pytest.mark.parametrize("ranks", [0, 2])
def test_evaluation_beside_natural_images(tmp_path, clean_run, ranks):
    job = copy_of(clean_run, tmp_path)
    command = ("evaluate", job.output / "latest.h5", "--natural", "1,20,all", "--draws", "2", "--kernel", "FC1",
               "--kernel", "FC2")  # fmt: skip
    result = run(*command, ranks=ranks)
    assert result.code == 0, result.stderr
    for images in (10, 200):
        assert result.stdout.count(f"{images} natural images, mean of 2 draws: ") == 2
    accuracy = float(re.search(r"10 support images, FC1 NTK: test accuracy ([\d.]+)%", result.stdout)[1])
    assert re.search(
        rf"1297 natural images: \d+\.\d\d%; the 10 distilled ones are not better: {accuracy:.2f}%", result.stdout
    )
    records = read_evaluations(job.output)
    assert sorted(record["kind"] for record in records) == ["distilled"] * 2 + ["natural"] * 6
    own = next(record for record in records if record["kind"] == "distilled")
    confusion = np.array(own["confusion"])
    assert confusion.sum() == 500
    assert 100 * np.trace(confusion) / 500 == pytest.approx(accuracy, abs=0.01)
    assert own["per_class"] == pytest.approx(np.diag(confusion) / confusion.sum(axis=1))
    again = run(*command, ranks=ranks)
    assert [line for line in again.stdout.splitlines() if "natural" in line and "draw of" not in line] == [
        line for line in result.stdout.splitlines() if "natural" in line and "draw of" not in line
    ]


@pytest.mark.parametrize("form", ["npz", "png"])
def test_a_checkpoint_that_lacks_what_an_export_needs(tmp_path, kept_run, form):
    job = copy_of(kept_run, tmp_path)
    with h5py.File(job.output / "latest.h5", "r+") as file:
        del file["support/labels"]
    result = run("export", job.output / "latest.h5", "--format", form, "--output", tmp_path / "set")
    assert result.code == 2
    (line,) = result.error_lines
    assert "no array /support/labels" in line
    assert not (tmp_path / "set").exists()


WRONG = {
    "zca_reg": ("preprocess.zca_reg=0.0", "preprocess.zca_reg must be finite and above 0"),
    "shift": ("augment.shift=1.0", "augment.shift must be finite and at least 0 and below 1"),
    "rotation": ("augment.rotation=270.0", "augment.rotation must be finite and at least 0 and at most 180"),
    "corruption": ("support.corruption=1.0", "support.corruption must be finite and at least 0 and below 1"),
    "sampled": ('kip.architectures=["FC1", "ResNet"]', "'ResNet' is unknown"),
    "init": ("support.init=nowhere.h5", "nowhere.h5: no such file"),
    "method": ("method=label_solve", "support.init and support.corruption are for method 'kip'"),
}


@pytest.mark.parametrize(("setting", "message"), WRONG.values(), ids=WRONG)
def test_wrong_settings(tmp_path, setting, message):
    config = write_config(tmp_path / "c.toml", support={"corruption": 0.1})
    result = run("run", config, "--output", tmp_path / "out", "--set", setting, ranks=2)
    assert result.code == 2
    (line,) = result.error_lines
    assert message in line
    assert not list(tmp_path.glob("out/checkpoints/*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--natural", "x"], "must list multiples"),
        (["--natural", ""], "must list multiples"),
        (["--natural", "500"], "a class has"),
        (["--draws", "0"], "--draws"),
        (["--draws", f"1{'0' * 20}"], "--draws must be 1 to 1,000,000, not 100"),
    ],
)
def test_wrong_evaluations(kept_run, arguments, message):
    result = run("evaluate", kept_run.output / "latest.h5", *arguments, ranks=2)
    assert result.code == 2
    (line,) = result.error_lines
    assert message in line
