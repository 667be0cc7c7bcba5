"""Draw checkpoint.svg: the stages in which a checkpoint is written, and what a reader finds meanwhile."""

from style import BLUE, DARK, GREEN, arrow, box, canvas, save

STAGES = (
    "ask the disk\nfor room",
    "write arrays\n(all ranks)",
    "mark\ncomplete",
    "flush\nto disk",
    "rename",
    "flush\nthe folder",
)
figure, axes = canvas(8.4, 2.3, (0, 16.8), (0, 4.6))
for number, text in enumerate(STAGES):
    x = 0.1 + 2.8 * number
    last = text == "rename"
    box(axes, x, 2.4, 2.3, 1.5, text, "#cfe9df" if last else "#eef0f3", edge=GREEN if last else "#8a8a8a", fontsize=9.5)
    if number:
        arrow(axes, (x - 0.5, 3.15), (x, 3.15), DARK)
renamed = 0.1 + 2.8 * 4 + 1.15
for start, end, colour, text in ((0.1, renamed - 0.08, BLUE, "a reader finds the checkpoint before"),
                                 (renamed + 0.08, 16.4, GREEN, "finds the new one")):  # fmt: skip
    axes.plot([start, end], [1.3, 1.3], color=colour, linewidth=6, solid_capstyle="butt")
    axes.text((start + end) / 2, 0.5, text, ha="center", va="center", fontsize=9.5)
axes.plot([renamed, renamed], [0.9, 2.4], color=DARK, linewidth=1, linestyle=":")
save(figure, "checkpoint")
