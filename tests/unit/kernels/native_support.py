"""What the tests of backend `native` share: networks with their reference in long double, and measures of error."""

import dense_oracle
import numpy as np

from hpcdistill.architecture import parse_architecture
from hpcdistill.kernels.select import choose_backend

BACKEND = "native"


class Network:
    """An architecture for images of one shape, and the recursion in long double as its reference."""

    def __init__(self, text, shape, kind="ntk", w_std=2**0.5, b_std=0.1, reference=dense_oracle.kept_kernel):
        self.architecture = parse_architecture(text, kind, w_std, b_std)
        self.shape, self._reference = shape, reference
        self._backends = {}

    def backend(self, dtype="float64", name=None):
        return choose_backend(self.architecture, self.shape, dtype, name or BACKEND)

    def images(self, n, seed):
        return random_images(n, self.shape, seed)

    def block(self, x1, x2, dtype="float64", name=None):
        backend = self._kept_backend(dtype, name)
        return backend.block(backend.prepare(x1), backend.prepare(x2))

    def vjp(self, x1, x2, cotangent, dtype="float64", name=None):
        backend = self._kept_backend(dtype, name)
        return backend.block_vjp(backend.prepare(x1), backend.prepare(x2), cotangent)

    def _kept_backend(self, dtype, name):
        if (dtype, name) not in self._backends:
            self._backends[dtype, name] = self.backend(dtype, name)
        return self._backends[dtype, name]

    def oracle(self, x1, x2, dtype=np.longdouble):
        return self._reference(self.architecture, np.asarray(x1, dtype), np.asarray(x2, dtype))

    def scale(self, x1, x2):
        """Return √(K(x1_i, x1_i) K(x2_j, x2_j)), what an entry is at most; it is far less where sums cancel."""
        own = [np.array([self.oracle(x[None], x[None])[0, 0] for x in images]) for images in (x1, x2)]
        return np.sqrt(np.multiply.outer(*own))

    def differences(self, x1, x2, cotangent, step=1e-4, order=2, seed=4):
        """Return random directions d, and d/dx1 Σ cotangent ∘ K along them per image of x1, (n1,).

        Central differences in long double, extrapolated from `step` and twice that; their error is of that order.
        """
        x1 = np.asarray(x1, np.longdouble)
        direction = np.random.default_rng(seed).normal(size=x1.shape)

        def slope(h):
            up, down = (self.oracle(x1 + sign * h * direction, x2) for sign in (1, -1))
            return (cotangent * (up - down)).sum(axis=1) / (2 * h)

        near, far = slope(np.longdouble(step)), slope(2 * np.longdouble(step))
        return direction, near + (near - far) / (2**order - 1)


def random_images(n, shape, seed):
    """Return normal pixels that float32 holds exactly, so that one reference serves both types."""
    return np.random.default_rng(seed).normal(size=(n, *shape)).astype(np.float32).astype(np.float64)


def random_cotangent(n1, n2, seed=3):
    return random_images(1, (n1, n2), seed)[0]


def along(gradient, direction):
    return (gradient.astype(np.float64) * direction).sum(axis=(1, 2, 3))


def entry_error(actual, expected, scale=0.0):
    """Return the largest error relative to the entry, or to a tenth of `scale` where the entry is smaller."""
    floor = np.maximum(0.01 * np.abs(expected).max(), 0.1 * scale)
    return float((np.abs(actual - expected) / np.maximum(np.abs(expected), floor)).max())


def error(actual, expected):
    """Return the largest error relative to the largest entry."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
