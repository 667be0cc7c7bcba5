"""Networks of finite width without normalisation, and the learning rate that they bear. Pure; float32.

Source: arXiv:2107.13034, section on transfer to finite networks. Initialisation and forward pass are those of
neural-tangents (Novak et al. arXiv:1912.02803), from the layers that the infinitely wide kernels are made of.
"""

from __future__ import annotations

from functools import cached_property, partial
from math import prod
from typing import Any

import numpy as np
from scipy.sparse.linalg import LinearOperator, eigsh

from hpcdistill.architecture import Architecture
from hpcdistill.kernels.tangents import stax_network
from hpcdistill.kernels.tangents_import import import_stax
from hpcdistill.mpi.partition import chunk_ranges

PARAMETERIZATIONS = ("standard", "ntk")
#: Copies of the parameters while training: themselves, momentum, gradient, update, and one for the compiler.
_PARAMETER_COPIES = 5
#: Copies of a batch's layers' outputs, most in products with the tangent kernel: themselves, their derivatives, and as
#: much for the compiler (measured: ConvNet of width 64, 100 images of 32×32×3, 440 of 506 MiB).
_ACTIVATION_COPIES = 4
#: Relative error of the largest eigenvalue.
_EIGENVALUE_TOLERANCE = 1e-3


class FiniteNetwork:
    """A network of finite width as functions of its parameters, which are a pytree of float32 arrays.

    Args:
        architecture: its layers, and the standard deviations of weights and biases at initialisation.
        image_shape: (h, w, c).
        n_classes: number of outputs.
        width: channels of every convolution, units of every hidden dense layer.
        parameterization: of a layer with n inputs: "standard" draws weights from N(0, w_std²/n) and biases from
            N(0, b_std²); "ntk" draws both from N(0, 1) and multiplies by w_std/√n and b_std in the forward pass.

    Call its methods within `jax_runtime.single_precision`. None is collective.
    """

    def __init__(
        self,
        architecture: Architecture,
        image_shape: tuple[int, int, int],
        n_classes: int,
        width: int,
        parameterization: str,
    ) -> None:
        self.architecture, self.image_shape, self.n_classes = architecture, image_shape, n_classes
        self.width, self.parameterization = width, parameterization
        self._init, self.apply, _ = stax_network(import_stax(), architecture, width, n_classes, parameterization)

    def initialise(self, seed: tuple[int, ...]) -> Any:
        """Return random parameters, a function of `seed` alone."""
        import jax

        state = np.random.SeedSequence(seed).generate_state(1)[0]
        return self._init(jax.random.key(state), (1, *self.image_shape))[1]

    @cached_property
    def n_parameters(self) -> int:
        """Number of weights and biases."""
        import jax

        shapes = jax.eval_shape(partial(self.initialise, (0,)))
        return sum(prod(leaf.shape) for leaf in jax.tree.leaves(shapes))

    @property
    def n_activations(self) -> int:
        """Number of values that all layers together put out for one image, the image included."""
        height, width, channels = self.image_shape
        total = height * width * channels
        for layer in self.architecture.layers:
            if layer in ("conv", "dense"):
                channels = self.width
            elif layer == "pool":
                height, width = height // 2, width // 2
            elif layer == "gap":
                height = width = 1
            elif layer == "flatten":
                height, width, channels = 1, 1, height * width * channels
            total += height * width * channels
        return total

    def training_bytes(self, batch: int, test_rows: int) -> int:
        """Return about how much memory training takes with `batch` images at a time, and testing with `test_rows`.

        Measured peaks are 0.3 to 1 times that, besides what JAX itself takes (tests/unit/test_finite_network.py).
        """
        activations = max(_ACTIVATION_COPIES * batch, test_rows) * self.n_activations
        return 4 * (_PARAMETER_COPIES * self.n_parameters + activations)


class TangentOperator:
    """Products with the empirical neural tangent kernel of a network, which is never formed.

    With the outputs' Jacobian J `(n·classes, parameters)` the kernel is `J Jᵀ` `(n·classes, n·classes)`. Memory: as
    for training with `rows` images at a time. Call within `jax_runtime.single_precision`. Not collective.
    """

    def __init__(self, network: FiniteNetwork, rows: int) -> None:
        import jax

        def pull(parameters: Any, x: Any, u: Any) -> Any:
            return jax.vjp(lambda p: network.apply(p, x), parameters)[1](u)[0]

        def push(parameters: Any, x: Any, direction: Any) -> Any:
            return jax.jvp(lambda p: network.apply(p, x), (parameters,), (direction,))[1]

        self._rows, self._n_classes = rows, network.n_classes
        self._pull, self._push = jax.jit(pull), jax.jit(push)

    def product(self, parameters: Any, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Return `J Jᵀ u`, `(n, classes)` float32, for images `x` `(n, h, w, c)` and `u` `(n, classes)`, float32."""
        import jax

        ranges = [slice(*ends) for ends in chunk_ranges(len(x), self._rows)]
        direction = self._pull(parameters, x[ranges[0]], u[ranges[0]])
        for rows in ranges[1:]:
            direction = jax.tree.map(np.add, direction, self._pull(parameters, x[rows], u[rows]))
        return np.concatenate([self._push(parameters, x[rows], direction) for rows in ranges])

    def largest_eigenvalue(self, parameters: Any, x: np.ndarray) -> float:
        """Return the largest eigenvalue of `J Jᵀ` for images `x` `(n, h, w, c)` float32, by Lanczos iteration.

        Error: about 1e-3, relative. Time: some twenty times that of a training step with all of `x`.
        """
        size = len(x) * self._n_classes
        shape = (len(x), self._n_classes)
        operator = LinearOperator(
            (size, size), lambda u: self.product(parameters, x, u.reshape(shape)).ravel(), dtype=np.float32
        )
        start = np.random.default_rng(0).standard_normal(size).astype(np.float32)
        return float(eigsh(operator, 1, which="LA", tol=_EIGENVALUE_TOLERANCE, v0=start, return_eigenvectors=False)[0])


def largest_stable_rate(largest_eigenvalue: float, n_outputs: int, l2: float, momentum: float) -> float:
    """Return the learning rate above which gradient descent with momentum diverges, where the network is linear.

    The loss `½ mean (f − y)² + ½ l2 ‖θ‖²` over `n_outputs` numbers (images times classes) has a Hessian `H` with
    largest eigenvalue `h = λ_max(J Jᵀ)/n_outputs + l2`. Steps `v ← m v + g, θ ← θ − η v` converge if and only if
    `0 < η h < 2 (1 + m)`.

    Source: `neural_tangents.predict.max_learning_rate`, which is this without l2.
    """
    return 2.0 * (1.0 + momentum) / (largest_eigenvalue / n_outputs + l2)
