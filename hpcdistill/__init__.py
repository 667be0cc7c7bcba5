"""Dataset distillation with infinitely wide networks (KIP and Label Solve) on MPI ranks, and their kernels in Python.

What Python programs use is exported here, and imported when it is asked for: importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hpcdistill.api.distillation import distill
    from hpcdistill.api.distilled import DistilledSet, load
    from hpcdistill.api.estimators import NeuralKernelClassifier, NeuralKernelRegressor
    from hpcdistill.api.kernel import NeuralKernel

__version__ = "0.1.0"

_EXPORTS = {
    "DistilledSet": "hpcdistill.api.distilled",
    "distill": "hpcdistill.api.distillation",
    "load": "hpcdistill.api.distilled",
    "NeuralKernel": "hpcdistill.api.kernel",
    "NeuralKernelClassifier": "hpcdistill.api.estimators",
    "NeuralKernelRegressor": "hpcdistill.api.estimators",
}

__all__ = ["DistilledSet", "NeuralKernel", "NeuralKernelClassifier", "NeuralKernelRegressor", "distill", "load"]


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_EXPORTS])
