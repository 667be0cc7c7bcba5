"""Draw adjoint.svg: the way from images to the loss, and back."""

from itertools import pairwise

from style import BLUE, DARK, ORANGE, arrow, box, canvas, save

figure, axes = canvas(8.4, 3.3, (0, 16.8), (0, 6.6))
FORWARD = {"x_s, y_s": 0.1, "K_ss, K_ts": 3.6, "α = A⁻¹ y_s": 7.1, "f = K_ts α": 10.6, "loss": 14.1}
BACK = {"gradient of\nx_s, y_s": 0.1, "cotangents of\nK_ss, K_ts": 3.6, "B = A⁻¹ K_tsᵀR": 8.2, "R = dL/df": 14.1}
for text, x in FORWARD.items():
    box(axes, x, 4.4, 2.6, 1.3, text, "#d3e6f2", edge=BLUE)
for text, x in BACK.items():
    box(axes, x, 0.8, 3.4 if "B =" in text else 2.6, 1.3, text, "#f9dfcf", edge=ORANGE)
places = list(FORWARD.values())
for before, after in pairwise(places):
    arrow(axes, (before + 2.6, 5.05), (after, 5.05), BLUE)
arrow(axes, (15.4, 4.4), (15.4, 2.1), ORANGE)
arrow(axes, (14.1, 1.45), (11.6, 1.45), ORANGE)
arrow(axes, (8.2, 1.45), (6.2, 1.45), ORANGE)
arrow(axes, (3.6, 1.45), (2.7, 1.45), ORANGE)
axes.text(3.15, 6.15, "tile by tile", ha="center", fontsize=9, color=DARK)
axes.text(6.65, 6.15, "one Cholesky factor", ha="center", fontsize=9, color=DARK)
axes.text(3.15, 0.3, "tile by tile", ha="center", fontsize=9, color=DARK)
axes.text(7.2, 0.3, "−B αᵀ,  R αᵀ", ha="center", fontsize=9, color=DARK)
axes.plot([8.4, 8.4], [4.4, 2.1], color=DARK, linewidth=1, linestyle=":")
axes.text(8.55, 3.25, "the same factor", fontsize=9, va="center", color=DARK)
save(figure, "adjoint")
