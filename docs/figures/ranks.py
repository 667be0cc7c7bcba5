"""Draw ranks.svg: what each rank has in a step of KIP, and what is added over the ranks."""

from matplotlib.patches import Rectangle
from style import BLUE, DARK, GREY, LIGHT, ORANGE, arrow, box, canvas, save

RANKS, TILES = 4, 4


def cell(axes, x, y, width, mine):
    """Draw a part of something that is dealt out over the ranks."""
    axes.add_patch(Rectangle((x, y), width, 0.45, facecolor=BLUE if mine else "none", edgecolor=GREY, linewidth=0.8))


figure, axes = canvas(8.4, 4.4, (0, 16.8), (-0.2, 8.8))
for rank in range(RANKS):
    x = 0.2 + 4.15 * rank
    axes.add_patch(Rectangle((x, 2.5), 3.9, 6.2, facecolor="none", edgecolor=GREY, linewidth=1))
    axes.text(x + 1.95, 8.3, f"rank {rank}", ha="center", va="center")
    box(axes, x + 0.3, 6.9, 3.3, 0.9, "support x_s, y_s", LIGHT, fontsize=9)
    for part in range(RANKS):
        cell(axes, x + 0.3, 6.1 - 0.5 * part, 1.1, part == rank)
    axes.text(x + 0.85, 4.2, "targets", ha="center", va="center", fontsize=9)
    for row in range(TILES):
        for column in range(row + 1):
            number = row * (row + 1) // 2 + column
            cell(axes, x + 1.8 + 0.45 * column, 6.1 - 0.5 * row, 0.43, number % RANKS == rank)
    axes.text(x + 2.7, 4.2, "tiles of K_ss", ha="center", va="center", fontsize=9)
    axes.text(x + 1.95, 3.2, "gradient of its part", ha="center", va="center", fontsize=9, color=DARK)
    arrow(axes, (x + 1.95, 2.9), (x + 1.95, 1.75), ORANGE)
ADDED = "added over the ranks:   K_ss  (n × n)      K_tsᵀR  (n × classes)      gradient  (n images)"
box(axes, 0.2, 0.4, 16.35, 1.3, ADDED, "#f9dfcf", edge=ORANGE)
save(figure, "ranks")
