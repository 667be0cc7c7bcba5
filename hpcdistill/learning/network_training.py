"""Transfer: a finite network trained by gradient descent on a support set, in place of the infinitely wide one.

For batches `(x, y)` of the support, with the labels as they are stored, the loss is

    L(θ) = ½ mean (f(x; θ) − y)² + ½ l2 ‖θ‖²

with the mean over images and classes and the norm over all weights and biases; so `l2 θ` is added to the gradient
before momentum. A step is `v ← 0.9 v + ∇L, θ ← θ − η_t v` with `η_t = ½ η (1 + cos(π t / steps))`.

Source: arXiv:2107.13034, section on transfer to finite networks. Pure; float32; nothing here is collective.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from hpcdistill.errors import NotFiniteError
from hpcdistill.jax_runtime import single_precision
from hpcdistill.learning.finite_network import FiniteNetwork, TangentOperator, largest_stable_rate
from hpcdistill.mpi.partition import chunk_ranges

MOMENTUM = 0.9
#: Weight of the squared norm in the papers, for standard parameterisation.
L2 = 1e-3
#: Test images predicted at a time.
EVALUATION_ROWS = 128
#: Steps between looks at the loss, for which the processor must have finished.
_LOOK_EVERY = 50

Fetch = Callable[[int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Training:
    """How a network is trained.

    Attributes:
        steps: updates.
        batch: images per step; all of them in every step where there are not more.
        l2: weight of the squared norm of the parameters, see above.
        learning_rate: η as a multiple of the largest stable learning rate at initialisation.
    """

    steps: int = 5000
    batch: int = 100
    l2: float = L2
    learning_rate: float = 1.0


@dataclass(frozen=True)
class Trained:
    """A trained network: its parameters, the learning rate η it was trained with, and the loss of the last step."""

    parameters: Any
    learning_rate: float
    loss: float


class Trainer:
    """Trains and tests networks of one kind; what is compiled for one serves all."""

    def __init__(self, network: FiniteNetwork, training: Training) -> None:
        import jax

        self.network, self.training = network, training
        with single_precision():
            self._tangents = TangentOperator(network, training.batch)
            self._step = jax.jit(self._update, donate_argnums=(0, 1))
            self._predict = jax.jit(network.apply)

    def train(
        self,
        x_s: np.ndarray,
        y_s: np.ndarray,
        seed: tuple[int, ...],
        report: Callable[[int, float], None] = lambda step, loss: None,
    ) -> Trained:
        """Return a network trained on a support set.

        Args:
            x_s, y_s: preprocessed images `(n, h, w, c)` and labels `(n, classes)`, any floating-point type.
            seed: decides initialisation and batches, and with the support all of the result.
            report: called now and then with the number of steps made and the loss.

        Raises:
            NotFiniteError: the loss has become infinite or NaN. Remedy: a lower learning rate.
        """
        x_s, y_s = x_s.astype(np.float32), y_s.astype(np.float32)
        with single_precision():
            parameters = self.network.initialise(seed)
            rate = self.training.learning_rate * self.largest_stable_rate(parameters, x_s)
            state, loss = self._optimizer(rate).init(parameters), 0.0
            batches = draw_batches(len(x_s), self.training.batch, seed)
            for step in range(1, self.training.steps + 1):
                parameters, state, value = self._step(parameters, state, rate, x_s, y_s, next(batches))
                if step % _LOOK_EVERY == 0 or step == self.training.steps:
                    loss = _finite(float(value), step, rate)
                    report(step, loss)
        return Trained(parameters, rate, loss)

    def largest_stable_rate(self, parameters: Any, x_s: np.ndarray) -> float:
        """Return the largest stable learning rate by the tangent kernel of the whole support, float32, at `parameters`.

        Call within `jax_runtime.single_precision`. That of a batch differs from it somewhat.
        """
        largest = self._tangents.largest_eigenvalue(parameters, x_s)
        return largest_stable_rate(largest, len(x_s) * self.network.n_classes, self.training.l2, MOMENTUM)

    def accuracy(self, trained: Trained, fetch: Fetch, count: int) -> float:
        """Return how many of the images the network classifies rightly, in 0…1, by its largest output.

        Args:
            fetch: takes a half-open range of rows and returns preprocessed images and labels with the right class
                largest.
            count: number of rows.

        Raises:
            NotFiniteError: a prediction is infinite or NaN: the last steps have diverged.
        """
        hits = 0
        with single_precision():
            for start, stop in chunk_ranges(count, EVALUATION_ROWS):
                x, y = fetch(start, stop)
                prediction = np.asarray(self._predict(trained.parameters, x.astype(np.float32)))
                _finite(float(prediction.sum()), self.training.steps, trained.learning_rate)
                hits += int(np.count_nonzero(prediction.argmax(axis=1) == y.argmax(axis=1)))
        return hits / count

    def _optimizer(self, rate: Any) -> Any:
        import optax

        return optax.sgd(optax.cosine_decay_schedule(rate, self.training.steps), momentum=MOMENTUM)

    def _update(self, parameters: Any, state: Any, rate: Any, x_s: Any, y_s: Any, rows: Any) -> tuple[Any, Any, Any]:
        import jax
        import optax

        loss, gradient = jax.value_and_grad(self._loss)(parameters, x_s[rows], y_s[rows])
        change, state = self._optimizer(rate).update(gradient, state)
        return optax.apply_updates(parameters, change), state, loss

    def _loss(self, parameters: Any, x: Any, y: Any) -> Any:
        import jax
        import jax.numpy as jnp

        squares = sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(parameters))
        return 0.5 * jnp.mean((self.network.apply(parameters, x) - y) ** 2) + 0.5 * self.training.l2 * squares


def draw_batches(n: int, batch: int, seed: tuple[int, ...]) -> Iterator[np.ndarray]:
    """Yield indices of the images of each step without end: `batch` of them, from random orders of all `n` in turn.

    All `n`, ascending, where `batch` is not less.
    """
    if batch >= n:
        while True:
            yield np.arange(n)
    rng = np.random.default_rng(seed)
    waiting = np.empty(0, np.int64)
    while True:
        while len(waiting) < batch:
            waiting = np.concatenate([waiting, rng.permutation(n)])
        yield waiting[:batch]
        waiting = waiting[batch:]


def _finite(value: float, step: int, rate: float) -> float:
    """Return `value`, or raise `NotFiniteError` if it is not finite."""
    if not np.isfinite(value):
        raise NotFiniteError(
            f"training of the finite network has diverged by step {step}, with a learning rate of {rate:.3g}. "
            "Lower --learning-rate, for example to a half."
        )
    return value
