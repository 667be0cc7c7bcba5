"""Draw offset_plane.svg and pooled_offsets.svg: why few pairs of pixels are needed."""

import matplotlib.pyplot as plt
from matplotlib.patches import Rectangle
from style import BLUE, DARK, GREY, GROUND, LIGHT, ORANGE, arrow, canvas, save

SIDE, OFFSET = 6, (1, 2)  # rows down, columns right


def grid(axes, x, y, coloured):
    """Draw an image of SIDE pixels a side whose upper left corner is there; `coloured` tells a pixel's colour."""
    for row in range(SIDE):
        for column in range(SIDE):
            axes.add_patch(Rectangle((x + column, y - row - 1), 1, 1, facecolor=coloured(row, column), edgecolor=GREY,
                                     linewidth=0.6))  # fmt: skip


def offset_plane():
    figure, axes = canvas(8.4, 3.9, (-0.6, 24.4), (-8.0, 1.4))
    dy, dx = OFFSET
    window = {(1 + i, 1 + j) for i in range(3) for j in range(3)}

    def first(row, column):
        if (row, column) in window:
            return ORANGE
        return "#bcd9ea" if row < SIDE - dy and column < SIDE - dx else GROUND

    def second(row, column):
        if (row - dy, column - dx) in window:
            return ORANGE
        return "#bcd9ea" if row >= dy and column >= dx else GROUND

    grid(axes, 0, 0, first)
    grid(axes, 9, 0, second)
    for row, column in ((0, 0), (2, 2), (4, 3)):
        arrow(axes, (column + 0.5, -row - 0.5), (9 + column + dx + 0.5, -row - dy - 0.5), BLUE, linewidth=1.1)
    for row in range(SIDE - dy):
        for column in range(SIDE - dx):
            colour = ORANGE if (row, column) in window else "#bcd9ea"
            axes.add_patch(Rectangle((19 + column, -row - 1), 1, 1, facecolor=colour, edgecolor=GREY, linewidth=0.6))
    axes.text(3, 0.5, "image x", ha="center")
    axes.text(12, 0.5, "image x′", ha="center")
    axes.text(21, 0.5, "plane of offset d", ha="center")
    axes.text(3, -6.9, "pixels p", ha="center", color=DARK)
    axes.text(12, -6.9, "pixels q = p + d,  d = (1, 2)", ha="center")
    axes.text(21, -5.9, "S[p, p + d]", ha="center")
    axes.text(12, -7.9, "orange: the 3×3 window of one output of a convolution", ha="center", color=ORANGE)
    axes.set_aspect("equal")
    save(figure, "offset_plane")


def pooled_offsets():
    figure, all_axes = plt.subplots(1, 4, figsize=(8.4, 2.7), layout="constrained")
    for axes, size, poolings in zip(all_axes, (32, 16, 8, 4), (3, 2, 1, 0), strict=True):
        every, needed = size - 1, 2**poolings - 1
        axes.add_patch(
            Rectangle((-every - 0.5, -every - 0.5), 2 * every + 1, 2 * every + 1, facecolor=LIGHT, edgecolor=GREY)
        )
        axes.add_patch(Rectangle((-needed - 0.5, -needed - 0.5), 2 * needed + 1, 2 * needed + 1, facecolor=ORANGE))
        reach = every + 1
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[-every, 0, every],
                 yticks=[-every, 0, every])  # fmt: skip
        axes.tick_params(labelsize=8)
        axes.set_title(f"{size}×{size} pixels", fontsize=10)
        axes.set_xlabel(f"{2 * needed + 1}×{2 * needed + 1} of {2 * every + 1}×{2 * every + 1}", fontsize=10)
    save(figure, "pooled_offsets")


offset_plane()
pooled_offsets()
