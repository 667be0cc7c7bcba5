"""Kernel ridge regression as scikit-learn's estimators."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import parametrize_with_checks

from hpcdistill import NeuralKernel, NeuralKernelClassifier, NeuralKernelRegressor

NETWORK = "conv relu pool flatten dense"


@parametrize_with_checks([NeuralKernelRegressor(), NeuralKernelClassifier()])
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_it_is_kernel_ridge_regression():
    rng = np.random.default_rng(0)
    x, t, y = rng.normal(size=(20, 6)), rng.normal(size=(5, 6)), rng.normal(size=(20, 2))
    k = NeuralKernel("FC2", b_std=0.3)
    gram = k(x)
    wanted = k(t, x) @ np.linalg.solve(gram + 1e-2 * np.trace(gram) / 20 * np.eye(20), y)
    found = NeuralKernelRegressor("FC2", b_std=0.3, reg=1e-2).fit(x, y).predict(t)
    np.testing.assert_allclose(found, wanted, rtol=1e-9)
    np.testing.assert_allclose(
        NeuralKernelRegressor("FC2", b_std=0.3, reg=1e-2).fit(x, y[:, 0]).predict(t), wanted[:, 0]
    )


@pytest.mark.parametrize("rows", [True, False])
def test_images_are_classified(rows):
    images, labels = load_digits(return_X_y=True)
    images, names = images / 16, np.array([f"digit {k}" for k in range(10)])[labels]
    images = images if rows else images.reshape(-1, 8, 8)
    model = NeuralKernelClassifier(NETWORK, image_shape=(8, 8, 1) if rows else None, reg=1e-4)
    model.fit(images[:300], names[:300])
    assert model.score(images[300:600], names[300:600]) > 0.8
    assert model.decision_function(images[:4]).shape == (4, 10)


def test_a_search_over_parameters():
    images, labels = load_digits(return_X_y=True)
    search = GridSearchCV(NeuralKernelClassifier("FC1"), {"reg": [1e-6, 1e2], "network": ["FC1", "FC2"]}, cv=2)
    assert search.fit(images[:200] / 16, labels[:200]).best_params_["reg"] == 1e-6
