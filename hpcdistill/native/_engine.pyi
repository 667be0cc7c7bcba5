"""Types of the compiled kernel engine. Its one user is hpcdistill.kernels.native, which says what it computes."""

from typing import Any

import numpy as np

class _Engine:
    """Kernels of one architecture and image shape. Arrays are C-contiguous and of the engine's type."""

    n_norms: int
    bytes_per_thread: int
    lanes: int
    kept_bytes: int
    gradient_length: int

    def __init__(
        self,
        layers: list[str],
        height: int,
        width: int,
        channels: int,
        tangent: bool,
        w_variance: float,
        b_variance: float,
        target: str,
    ) -> None: ...
    def norms(self, pixels: np.ndarray, out: np.ndarray, threads: int) -> None: ...
    def block(
        self,
        pixels1: np.ndarray,
        norms1: np.ndarray,
        pixels2: np.ndarray,
        norms2: np.ndarray,
        same: bool,
        out: np.ndarray,
        threads: int,
    ) -> None: ...
    def block_kept(
        self,
        pixels1: np.ndarray,
        norms1: np.ndarray,
        pixels2: np.ndarray,
        norms2: np.ndarray,
        out: np.ndarray,
        kept: np.ndarray,
        n_kept: int,
        threads: int,
    ) -> None: ...
    def add_gradient(
        self,
        pixels1: np.ndarray,
        norms1: np.ndarray,
        pixels2: np.ndarray,
        norms2: np.ndarray,
        cotangent: np.ndarray,
        kept: np.ndarray,
        n_kept: int,
        sums: np.ndarray,
        threads: int,
    ) -> None: ...
    def finish_gradient(
        self, pixels: np.ndarray, norms: np.ndarray, sums: np.ndarray, out: np.ndarray, threads: int
    ) -> None: ...

class Engine32(_Engine): ...
class Engine64(_Engine): ...

def supported_targets() -> list[str]: ...
def plans(
    layers: list[str],
    height: int,
    width: int,
    channels: int,
    tangent: bool,
    w_variance: float,
    b_variance: float,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the plans (engine/plan.hpp) of the network's kernel and of an image's variances, as plain data."""
