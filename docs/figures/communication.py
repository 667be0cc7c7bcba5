#!/usr/bin/env python3
"""The figure and the tables of docs/how-it-works/communication.md, from `hpcdistill.cost`.

usage: python docs/figures/communication.py        writes communication.svg beside itself and prints the tables
"""

from dataclasses import replace
from pathlib import Path

from hpcdistill.cost.exchange import StepSizes, exchanged_per_chunk, exchanged_per_step
from hpcdistill.cost.scaling import Machine, cholesky_seconds, step_time
from hpcdistill.io.exchanged import size_in_words
from hpcdistill.io.figures.style import COLOURS, GREY, MARKERS, house_style, new_figure

#: ConvNet, 32×32×3, mixed precision, one H200, 5,000 targets: 0.318 s with 10 images, 19.8 s with 500
#: (jobs/results). Tiles in float64, forward 182,000 entries/s, gradient 94,900; from these the rest of the step.
H200 = Machine(step_entries=157_000, tile_entries=182_000, tile_gradients=94_900, flops=2e13, latency_seconds=5e-6,
               bytes_per_second=25e9)  # fmt: skip
TARGETS, PIXELS, CLASSES = 5000, 32 * 32 * 3, 10
GPUS = [1, 8, 16, 32, 64, 128, 256, 512, 1024]
SUPPORTS = (10, 100, 500)


def sizes(n):
    """Return the sizes of a step with n support images."""
    return StepSizes(n, PIXELS, CLASSES, learns_temperature=True)


def seconds(n, gpus, machine=H200):
    """Return the time of a step."""
    return step_time(sizes(n), TARGETS, gpus, machine)


def print_exchanged():
    """Print calls and bytes of a step."""
    print("| images | sums | broadcasts | agreements, objects | all |\n|---|---|---|---|---|")
    for n in SUPPORTS:
        found = exchanged_per_step(sizes(n), 2)
        small = [sum(found[name][k] for name in ("allreduce", "bcast")) for k in (0, 1)]
        cells = [found["Allreduce"], found["Bcast"], small]
        total = [sum(cell[k] for cell in cells) for k in (0, 1)]
        print(f"| {n} | " + " | ".join(f"{c}×, {size_in_words(b)}" for c, b in [*cells, total]) + " |")


def print_times():
    """Print a table for each support."""
    for n in SUPPORTS:
        print(f"\n{n} images\n\n| GPUs | targets | K_ss | messages | step | speed-up | half-speed GPU |")
        print("|---|---|---|---|---|---|---|")
        for gpus in GPUS:
            time = seconds(n, gpus)
            slow = seconds(n, gpus, replace(H200, slowest=0.5)).total
            parts = [time.targets, time.support + time.cholesky, time.messages, time.total]
            words = " | ".join(f"{1e3 * part:.3g} ms" for part in parts)
            print(f"| {gpus:,} | {words} | {seconds(n, 1).total / time.total:.3g} | {1e3 * slow:.3g} ms |")


def print_cholesky():
    """Print what a factorisation takes on every GPU, and over the hosts of many."""
    host = replace(H200, flops=1e12)
    print("\n| support | on each GPU | over 64 hosts | over 256 hosts |\n|---|---|---|---|")
    for n in (500, 5_000, 20_000, 50_000):
        times = [cholesky_seconds(n, 1, H200), cholesky_seconds(n, 64, host), cholesky_seconds(n, 256, host)]
        print(f"| {n:,} | " + " | ".join(f"{1e3 * time:,.3g} ms" for time in times) + " |")


def print_chunk():
    """Print what a chunk of Label Solve exchanges: 500 images, 10,000 targets in pieces of 65."""
    print("\n| GPUs | nodes dealt out | sent, at most | given to all |\n|---|---|---|---|")
    for gpus in (2, 8, 64, 1024):
        found = exchanged_per_chunk(500 + CLASSES, 10_000, 65, gpus)
        dealt_out = found["Send"][0] + 1
        print(f"| {gpus:,} | {dealt_out} | {size_in_words(found['Send'][1])} | {size_in_words(found['Bcast'][1])} |")


def draw(path):
    """Draw speed-up, and what a step of 500 images goes to."""
    with house_style():
        figure = new_figure(9.0, 3.6)
        left, right = figure.subplots(1, 2)
        for n, colour, marker in zip(SUPPORTS, COLOURS, MARKERS, strict=False):
            speed_up = [seconds(n, 1).total / seconds(n, gpus).total for gpus in GPUS]
            left.plot(GPUS, speed_up, color=colour, marker=marker, label=f"{n} images")
        left.plot(GPUS, GPUS, color=GREY, linestyle=":", label="as many times as GPUs")
        left.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="speed-up of a KIP step")
        left.legend(fontsize=8)
        parts = {"rows of K_ts": "targets", "K_ss, its gradient": "support", "Cholesky": "cholesky",
                 "messages": "messages"}  # fmt: skip
        for (label, name), colour, marker in zip(parts.items(), COLOURS, MARKERS, strict=False):
            values = [getattr(seconds(500, gpus), name) for gpus in GPUS]
            right.plot(GPUS, values, color=colour, marker=marker, label=label)
        right.set(xscale="log", yscale="log", xlabel="GPUs", ylabel="seconds of a step, 500 images")
        right.legend(fontsize=8)
        for axes in (left, right):
            axes.set_xticks(GPUS[::2], [f"{gpus:,}" for gpus in GPUS[::2]])
            axes.minorticks_off()
            axes.set_facecolor("white")
        figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    print_exchanged()
    print_times()
    print_cholesky()
    print_chunk()
    draw(Path(__file__).with_suffix(".svg"))
