"""The demo is what a newcomer runs first: it must run, and distillation must be worth it."""

from pathlib import Path

import numpy as np
from launch import run
from own_files import read_own
from PIL import Image

DEMO = Path(__file__).parents[2] / "jobs" / "demo.sh"


def accuracies(output, name):
    column = read_own(output / name / "latest.h5").arrays["history/test_accuracy"]
    return column[np.isfinite(column)]


def test_the_demo_runs_and_distilled_images_beat_natural_ones(tmp_path):
    output = tmp_path / "demo"
    # Fewer steps, targets and images: what distillation is worth shows with them, too.
    settings = ["kip.steps=20", "kip.batch=120", "data.train_size=400", "data.test_size=200"]
    result = run(DEMO, output, *settings, program=("bash",), timeout=1200)
    assert result.code == 0, result.stdout + result.stderr
    assert "step 20: test" in result.stdout
    assert "Natural images, mean of 10 draws" in result.stdout
    natural = accuracies(output, "natural-10")
    assert len(natural) == 10
    assert accuracies(output, "kip-10")[-1] >= natural.mean() + 0.20
    assert accuracies(output, "solved-10")[-1] > natural.mean()
    assert Image.open(output / "kip-10.png").size[0] > 600
