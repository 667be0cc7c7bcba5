"""What figures share: colours that colour-blind readers tell apart, a light ground of their own, how they are saved."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
import matplotlib.pyplot as plt

BLUE, ORANGE, GREEN, GREY, LIGHT, DARK = "#0072B2", "#D55E00", "#009E73", "#8a8a8a", "#e3e6ea", "#222222"
GROUND = "#fbfbfb"
mpl.rcParams.update({
    "svg.hashsalt": "hpcdistill", "font.size": 10, "font.family": "DejaVu Sans", "text.color": DARK,
    "axes.edgecolor": GREY, "axes.labelcolor": DARK, "xtick.color": DARK, "ytick.color": DARK,
    "figure.facecolor": GROUND, "savefig.facecolor": GROUND, "axes.facecolor": GROUND,
})  # fmt: skip


def canvas(width, height, x, y):
    """Return a figure of so many inches and one axes without a frame, of the ranges x and y."""
    figure, axes = plt.subplots(figsize=(width, height), layout="constrained")
    axes.set(xlim=x, ylim=y)
    axes.set_axis_off()
    return figure, axes


def box(axes, x, y, width, height, text, colour=LIGHT, **how):
    """Draw a box with a text in it."""
    shape, edge = "round,pad=0,rounding_size=0.08", how.pop("edge", GREY)
    axes.add_patch(mpl.patches.FancyBboxPatch((x, y), width, height, shape, facecolor=colour, edgecolor=edge))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", **how)


def arrow(axes, start, end, colour=DARK, **how):
    """Draw an arrow."""
    shape = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.4, "shrinkA": 2, "shrinkB": 2} | how
    axes.annotate("", end, start, arrowprops=shape)


def save(figure, name):
    """Write an SVG beside this file."""
    figure.savefig(Path(__file__).parent / f"{name}.svg", metadata={"Date": None})
    plt.close(figure)
