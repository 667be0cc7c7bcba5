"""Small problems and oracles shared by the tests."""

import numpy as np

from hpcdistill.architecture import parse_architecture
from hpcdistill.data.preprocess import centred_one_hot
from hpcdistill.kernels.select import choose_backend
from hpcdistill.learning.assemble import Kernels, Targets

SHAPE, CLASSES = (4, 5, 2), 3


def kernels(architecture="FC2", dtype_ts="float64"):
    parsed = parse_architecture(architecture)
    ss = choose_backend(parsed, SHAPE, np.dtype("float64"))
    return Kernels(ss, ss if dtype_ts == "float64" else choose_backend(parsed, SHAPE, np.dtype(dtype_ts)))


def images(n, seed):
    return np.random.default_rng(seed).standard_normal((n, *SHAPE))


def labels(n, seed):
    return centred_one_hot(np.random.default_rng(seed).integers(0, CLASSES, n), CLASSES)


def targets(n, seed=1):
    x, y = images(n, seed), labels(n, seed)
    return Targets(lambda a, b: (x[a:b], y[a:b]), n)


def dense_loss(pair, x_s, y_s, n_t, reg, seed=1):
    """The squared error straight from its definition, on one process, and the accuracy."""
    prediction, y_t = dense_prediction(pair, x_s, y_s, n_t, reg, seed)
    accuracy = (prediction.argmax(1) == y_t.argmax(1)).mean()
    return 0.5 * np.mean((prediction - y_t) ** 2), accuracy


def dense_prediction(pair, x_s, y_s, n_t, reg, seed=1):
    """Predictions straight from their definition, on one process, and the targets' labels."""
    x_t, y_t = images(n_t, seed), labels(n_t, seed)
    h_s = pair.ss.prepare(x_s)
    k_ss = pair.ss.block(h_s, h_s)
    k_ts = pair.ts.block(pair.ts.prepare(x_t), pair.ts.prepare(x_s))
    a = k_ss + reg * np.trace(k_ss) / len(x_s) * np.eye(len(x_s))
    return k_ts @ np.linalg.solve(a, y_s), y_t
