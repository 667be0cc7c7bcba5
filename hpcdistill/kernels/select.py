"""Choice of the kernel backend: an ordered fall-through on "not suitable"."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike

from hpcdistill.architecture import Architecture
from hpcdistill.backend import AUTO, BACKENDS, backend_reference
from hpcdistill.errors import ConfigError, EnvironmentSetupError, NotSuitable
from hpcdistill.kernels.base import KernelBackend
from hpcdistill.plugins import load_object

DTYPES = (np.dtype(np.float32), np.dtype(np.float64))


def choose_backend(
    architecture: Architecture,
    image_shape: tuple[int, int, int],
    dtype: DTypeLike,
    requested: str = AUTO,
    log: Callable[[str], None] = lambda line: None,
) -> KernelBackend:
    """Return the first backend in `BACKENDS` that can serve the request, or the one that was asked for.

    Args:
        architecture: network and kind of kernel.
        image_shape: (h, w, c) of all images it will see.
        dtype: float32 or float64, the type of its inputs and results.
        requested: "auto", or the name of a backend.
        log: told, in one line, why another backend was not taken where that may surprise: because there is no GPU
            though there is CuPy, or because the last and slowest one has to do.

    Raises:
        ConfigError: unknown name, or a backend that cannot serve this request → one of the names in the message, or
            "auto"; images too small for the architecture; another dtype.
        EnvironmentSetupError: the backend needs a library that is missing → install it as the message says.

    Not collective.
    """
    dtype = np.dtype(dtype)
    if dtype not in DTYPES:
        raise ConfigError(f"A kernel cannot be computed in {dtype}. Valid: float32, float64.")
    architecture.check_image_size(*image_shape[:2])
    candidates = BACKENDS if requested == AUTO else {requested: backend_reference(requested)}
    reasons: list[str] = []
    unexpected: list[str] = []
    for name, reference in candidates.items():
        try:
            backend: KernelBackend = load_object(f"kernel.backend {name!r}", reference)(
                architecture, image_shape, dtype
            )
        except NotSuitable as reason:
            reasons.append(f"{name}: {reason}")
            unexpected += [reasons[-1]] if reason.unexpected else []
            continue
        if name not in BACKENDS and backend.name != name:
            raise EnvironmentSetupError(
                f"kernel.backend {name!r}: {reference} calls itself {backend.name!r}. Give both one name."
            )
        if reasons and name == list(candidates)[-1]:
            log(f"kernels by {name}, which is slow, because none of the others can: {'; '.join(reasons)}")
        elif unexpected:
            log(f"kernels by {name}, not by {'; '.join(unexpected)}")
        return backend
    raise ConfigError(
        f"kernel.backend {requested!r} cannot serve kernel.architecture {architecture.name!r} "
        f"({'; '.join(reasons)}). {'Take kernel.backend=auto, which finds one that can. ' * (requested != AUTO)}"
        f"Valid: {', '.join(n for n in (AUTO, *BACKENDS) if n != requested)}."
    )
