"""How a configuration says to read data of one's own. Needs no MPI."""

from __future__ import annotations

from hpcdistill.config import Config
from hpcdistill.data.readers.reading import Reading


def reading_of(config: Config) -> Reading:
    """Return what section `[data]` says."""
    data = config.data
    return Reading(data.images, data.labels, data.axes, data.size, data.fit, data.test_share, config.seed,
                   data.test_images, data.test_labels)  # fmt: skip
