"""Whether images are in the units of those they are compared with. 0…1 beside 0…255 would give wrong figures."""

from __future__ import annotations

import numpy as np

from hpcdistill.data.preprocess import Standardisation
from hpcdistill.errors import DataError

#: Images looked at, evenly spaced.
UNITS_SAMPLE = 1024
#: How many times as far apart, or as far from the mean, pixels may be as those of the training images.
_MOST = 16.0


def check_units(standardise: Standardisation, images: np.ndarray, what: str) -> None:
    """Raise `DataError` where raw images cannot be in the units of those that a standardisation was fitted on.

    Standardised pixels of like images have a mean near 0 and a standard deviation near 1. Refused is what is 16 times
    as much, or a sixteenth: pixels of 0…1 beside 0…255 differ by 255, all ordinary differences are far below.

    Args:
        images: `(n, h, w, c)` raw images.
        what: they are, for the message.
    """
    sample = images[:: max(1, len(images) // UNITS_SAMPLE)]
    low, high = float(sample.min()), float(sample.max())
    x = standardise.apply(sample)
    if low == high or (1 / _MOST < x.std() < _MOST and abs(x.mean()) < _MOST):
        return
    mean, std = float(standardise.mean.mean()), float(standardise.std.mean())
    raise DataError(
        f"{what} have pixels of {low:.4g}…{high:.4g}, but the training images' are about {mean:.4g} ± {std:.4g}: they "
        "seem to be in other units, such as 0…1 beside 0…255. Store all in the same."
    )
