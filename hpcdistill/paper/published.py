"""Published figures as lines to draw: test accuracy over images per class. Needs neither MPI nor JAX."""

from __future__ import annotations

from hpcdistill.paper.cells import cells, tables


def published_lines(dataset: str, method: str, architecture: str, zca: bool) -> list[tuple[str, dict[int, float]]]:
    """Return test accuracies in % for a setting, by who published them and images per class; none if nobody did.

    First what the papers reach with the same method, then what they give beside it ("draft in arXiv:2107.13034").

    Args:
        dataset, method, architecture, zca: as in the configuration.
    """
    own: dict[str, dict[int, float]] = {}
    beside: dict[str, dict[int, float]] = {}
    for cell in cells():
        row = cell.row
        if (row.dataset, cell.method, row.architecture, row.zca) != (dataset, method, architecture, zca):
            continue
        source = tables()[row.table]["source"]
        own.setdefault(source, {})[cell.images_per_class] = cell.published
        for name, accuracy in cell.also.items():
            beside.setdefault(f"{name} in {source.split(',')[0]}", {})[cell.images_per_class] = accuracy
    return [*own.items(), *beside.items()]
