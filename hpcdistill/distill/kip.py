"""Kernel Inducing Points: support images (and labels) learned by gradient descent through kernel ridge regression.

Source: arXiv:2011.00050 algorithm 1; settings of arXiv:2107.13034.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpi4py import MPI

from hpcdistill.config import Config
from hpcdistill.distill.adam import Adam
from hpcdistill.distill.assemble import Kernels, Targets
from hpcdistill.distill.krr import Gradient, Support
from hpcdistill.errors import NotFiniteError
from hpcdistill.mpi.collectives import bcast_array, bcast_object


@dataclass
class KipState:
    """What a step changes.

    Attributes:
        step: updates made so far.
        x_s, y_s: support images `(n, h, w, c)` and labels `(n, classes)`, float64.
        optimizer: Adam's state by name ("images/mu", …).
    """

    step: int
    x_s: np.ndarray
    y_s: np.ndarray
    optimizer: dict[str, np.ndarray]


def make_adam(config: Config) -> Adam:
    """Return the optimiser of a configuration: images, and labels where they are learned."""
    labels = {"labels": config.kip.label_learning_rate} if config.kip.learn_labels else {}
    return Adam({"images": config.kip.learning_rate} | labels)


def kip_gradient(comm: MPI.Intracomm, kernels: Kernels, state: KipState, targets: Targets, config: Config) -> Gradient:
    """Return loss, accuracy and gradient of a batch, checked to be finite. Collective.

    Raises:
        NotFiniteError: on every rank. Remedy: a smaller learning rate, a larger ridge, float64.
        NotPositiveDefiniteError: on every rank.
    """
    support = Support(comm, kernels, state.x_s, config.solve.reg, config.solve.method)
    try:
        gradient = support.gradient(state.y_s, targets)
    finally:
        support.close()
    finite = np.isfinite(gradient.loss) and np.isfinite(gradient.images).all() and np.isfinite(gradient.labels).all()
    if not bcast_object(comm, bool(finite)):
        raise NotFiniteError(
            f"the loss or its gradient is not finite at step {state.step} (loss {gradient.loss}). "
            "Lower kip.learning_rate, raise solve.reg or use kernel.precision=float64."
        )
    return gradient


def kip_update(comm: MPI.Intracomm, adam: Adam, state: KipState, gradient: Gradient) -> KipState:
    """Return the state after one step of Adam, rank 0's on every rank. Collective.

    Rank 0 alone makes the update and broadcasts it, so that unlike nodes cannot drift apart.
    """
    new = KipState(
        state.step + 1, state.x_s.copy(), state.y_s.copy(), {k: v.copy() for k, v in state.optimizer.items()}
    )
    if comm.Get_rank() == 0:
        parameters, new.optimizer = adam.update(
            {"images": state.x_s, "labels": state.y_s},
            {"images": gradient.images, "labels": gradient.labels},
            state.optimizer,
        )
        new.x_s, new.y_s = parameters["images"], parameters.get("labels", state.y_s)
    for array in (new.x_s, new.y_s, *(new.optimizer[k] for k in sorted(new.optimizer))):
        bcast_array(comm, array)
    return new
