"""Kernel Inducing Points: support images (and labels) learned by gradient descent through kernel ridge regression.

Source: arXiv:2011.00050 algorithm 1; settings of arXiv:2107.13034.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mpi4py import MPI

from hpcdistill.config import Config
from hpcdistill.distill.assemble import Kernels, Targets
from hpcdistill.distill.krr import Gradient, Support
from hpcdistill.errors import NotFiniteError
from hpcdistill.jax_runtime import configure_jax
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


class Adam:
    """optax's Adam in float64, with its state as named NumPy arrays, as a checkpoint keeps it.

    JAX compiles init and update once for all parameters. Operation by operation a step took 1.5 to 5 times as long, and
    the first one most of a second.
    """

    def __init__(self, rates: dict[str, float]) -> None:
        configure_jax()
        import jax
        import optax

        self._optimizers = {name: optax.adam(rate) for name, rate in rates.items()}
        self._init, self._update = jax.jit(self._traced_init), jax.jit(self._traced_update)

    def init(self, parameters: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the state before the first update."""
        return _to_numpy(self._init(parameters))

    def update(
        self, parameters: dict[str, np.ndarray], gradients: dict[str, np.ndarray], state: dict[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return parameters and state after one update."""
        parameters, state = self._update(parameters, gradients, state)
        return _to_numpy(parameters), _to_numpy(state)

    def _traced_init(self, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._flatten({name: opt.init(parameters[name]) for name, opt in self._optimizers.items()})

    def _traced_update(
        self, parameters: dict[str, Any], gradients: dict[str, Any], state: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        new, states = {}, {}
        for name, optimizer in self._optimizers.items():
            old = self._unflatten(name, optimizer.init(parameters[name]), state)
            change, states[name] = optimizer.update(gradients[name], old)
            new[name] = parameters[name] + change
        return new, self._flatten(states)

    @staticmethod
    def _flatten(states: dict[str, Any]) -> dict[str, Any]:
        import jax

        leaves = {}
        for name, state in states.items():
            for path, leaf in jax.tree_util.tree_leaves_with_path(state):
                leaves[f"{name}/{path[-1].name}"] = leaf
        return leaves

    @staticmethod
    def _unflatten(name: str, template: Any, state: dict[str, Any]) -> Any:
        import jax

        def stored(path: tuple, leaf: Any) -> Any:
            return state[f"{name}/{path[-1].name}"].reshape(leaf.shape)

        return jax.tree_util.tree_map_with_path(stored, template)


def _to_numpy(arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Return copies that may be changed, rows one after the other, whatever layout JAX has chosen."""
    return {name: np.array(array, order="C") for name, array in arrays.items()}


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


def kip_update(comm: MPI.Intracomm, adam: Adam | None, state: KipState, gradient: Gradient) -> KipState:
    """Return the state after one step of Adam, rank 0's on every rank. Collective.

    Rank 0 alone makes the update (`adam` is None elsewhere) and broadcasts it, so that unlike nodes cannot drift apart.
    """
    new = KipState(
        state.step + 1, state.x_s.copy(), state.y_s.copy(), {k: v.copy() for k, v in state.optimizer.items()}
    )
    if adam is not None:
        parameters, new.optimizer = adam.update(
            {"images": state.x_s, "labels": state.y_s},
            {"images": gradient.images, "labels": gradient.labels},
            state.optimizer,
        )
        new.x_s, new.y_s = parameters["images"], parameters.get("labels", state.y_s)
    for array in (new.x_s, new.y_s, *(new.optimizer[k] for k in sorted(new.optimizer))):
        bcast_array(comm, array)
    return new
