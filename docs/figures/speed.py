"""Draw speed.svg: kernel entries a second beside neural-tangents, from jobs/results/kernels_2026-11-22.json."""

import json
from pathlib import Path

import matplotlib.pyplot as plt
from style import BLUE, ORANGE, save

RESULTS = Path(__file__).parents[2] / "jobs/results/kernels_2026-11-22.json"
NETWORKS = ("ConvNet", "ConvNet3", "Myrtle-5")


def measured(backend, dtype, network, operation):
    """Return entries a second on 2 threads, 32×32×3."""
    wanted = {"backend": backend, "dtype": dtype, "architecture": network, "operation": operation, "threads": 2,
              "shape": "32x32x3"}  # fmt: skip
    rows = json.loads(RESULTS.read_text())["rows"]
    return next(row["entries_per_second"] for row in rows if wanted.items() <= row.items())


figure, both = plt.subplots(1, 2, figsize=(8.4, 2.7), layout="constrained", sharey=True)
for axes, operation, title in zip(both, ("forward", "forward+vjp"), ("forward", "forward and gradient"), strict=True):
    for place, network in enumerate(NETWORKS):
        ours, theirs = (
            measured("native", "float32", network, operation),
            measured("tangents", "float64", network, operation),
        )
        axes.bar(place - 0.2, ours, 0.38, color=BLUE, label="this engine" if place == 0 else None)
        axes.bar(place + 0.2, theirs, 0.38, color=ORANGE, label="neural-tangents" if place == 0 else None, hatch="//",
                 edgecolor="white")  # fmt: skip
        axes.text(place - 0.2, ours * 1.1, f"{ours:,.0f}", ha="center", fontsize=9)
        axes.text(place + 0.2, theirs * 1.1, f"{theirs:.1f}", ha="center", fontsize=9)
    axes.set(yscale="log", ylim=(1, 1e5), xticks=range(len(NETWORKS)), xticklabels=NETWORKS, title=title)
    axes.spines[["top", "right"]].set_visible(False)
both[0].set_ylabel("entries a second")
both[1].legend(frameon=False, loc="upper right")
save(figure, "speed")
