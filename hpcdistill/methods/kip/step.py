"""Kernel Inducing Points: support images (and labels) learned by gradient descent through kernel ridge regression.

Source: arXiv:2011.00050 algorithm 1; settings of arXiv:2107.13034.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hpcdistill.config import Config
from hpcdistill.errors import NotFiniteError
from hpcdistill.learning.adam import Adam
from hpcdistill.learning.assemble import Kernels, Targets
from hpcdistill.learning.krr import Gradient, KernelRegression
from hpcdistill.learning.loss import CrossEntropy, Loss, SquaredError
from hpcdistill.methods.kip.settings import KipConfig
from hpcdistill.mpi.binding import MPI
from hpcdistill.mpi.collectives import bcast_array, bcast_object


@dataclass
class KipState:
    """What a step changes.

    Attributes:
        step: updates made so far.
        x_s, y_s: support images `(n, h, w, c)` and labels `(n, classes)`, float64.
        log_temperature: of the loss, `(1,)` float64.
        optimizer: Adam's state by name ("images/mu", …).
    """

    step: int
    x_s: np.ndarray
    y_s: np.ndarray
    log_temperature: np.ndarray
    optimizer: dict[str, np.ndarray]

    @property
    def parameters(self) -> dict[str, np.ndarray]:
        """What Adam may change, by name."""
        return {"images": self.x_s, "labels": self.y_s, "log_temperature": self.log_temperature}


def make_adam(config: Config) -> Adam:
    """Return the optimiser of a configuration: images; labels, and the loss's temperature, where they are learned."""
    kip = config.of(KipConfig)
    rates = {"images": kip.learning_rate}
    if kip.learn_labels:
        rates["labels"] = kip.label_learning_rate
    if kip.loss == "cross_entropy" and kip.temperature_rate:
        rates["log_temperature"] = kip.temperature_rate
    return Adam(rates)


def initial_state(adam: Adam, x_s: np.ndarray, y_s: np.ndarray, config: Config) -> KipState:
    """Return the state before the first step."""
    state = KipState(0, x_s, y_s, initial_log_temperature(config), {})
    state.optimizer = adam.init(state.parameters)
    return state


def initial_log_temperature(config: Config) -> np.ndarray:
    """Return the logarithm of the temperature that a configuration starts from, `(1,)`."""
    return np.log([config.of(KipConfig).temperature])


def make_loss(config: Config, log_temperature: float) -> Loss:
    """Return the loss of a configuration, at the temperature that a run has reached."""
    return CrossEntropy(log_temperature) if config.of(KipConfig).loss == "cross_entropy" else SquaredError()


def kip_gradient(comm: MPI.Intracomm, kernels: Kernels, state: KipState, targets: Targets, config: Config) -> Gradient:
    """Return loss, accuracy and gradient of a batch, checked to be finite. Collective.

    Raises:
        NotFiniteError: on every rank. Remedy: a smaller learning rate, a larger ridge, float64.
        NotPositiveDefiniteError: on every rank.
    """
    regression = KernelRegression(comm, kernels, state.x_s, config.solve.reg, config.solve.method)
    try:
        gradient = regression.gradient(state.y_s, targets, make_loss(config, float(state.log_temperature[0])))
    finally:
        regression.close()
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
    moved, optimizer = state.parameters, state.optimizer
    if comm.Get_rank() == 0:
        gradients = {"images": gradient.images, "labels": gradient.labels,
                     "log_temperature": np.array([gradient.log_temperature])}  # fmt: skip
        changed, optimizer = adam.update(state.parameters, gradients, state.optimizer)
        moved = moved | changed
    new = {name: bcast_array(comm, array.copy()) for name, array in moved.items()}
    optimizer = {name: bcast_array(comm, optimizer[name].copy()) for name in sorted(optimizer)}
    return KipState(state.step + 1, new["images"], new["labels"], new["log_temperature"], optimizer)
