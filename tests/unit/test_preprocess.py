import numpy as np
import pytest

from hpcdistill.data.preprocess import centred_one_hot, fit_standardisation

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_standardised_images_have_mean_0_and_std_1_per_channel(dtype):
    images = RNG.integers(0, 256, (5000, 3, 2, 3)).astype(dtype)
    x = fit_standardisation(images, np.arange(5000), (0, 255)).apply(images)
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(x.std(axis=(0, 1, 2)), 1, rtol=1e-12)


def test_only_the_given_images_are_fitted():
    images = RNG.integers(0, 256, (50, 4, 4, 1)).astype(np.uint8)
    fitted = fit_standardisation(images, np.arange(10, 30), (0, 255))
    assert fitted.mean[0] == pytest.approx(images[10:30].mean())
    assert fitted.std[0] == pytest.approx(images[10:30].std())


def test_display_inverts_to_the_very_pixels():
    images = RNG.integers(0, 256, (20, 5, 4, 3)).astype(np.uint8)
    fitted = fit_standardisation(images, np.arange(20), (0, 255))
    np.testing.assert_array_equal(fitted.display(fitted.apply(images)), images)
    np.testing.assert_allclose(fitted.invert(fitted.apply(images)), images, atol=1e-12)


def test_a_constant_channel_stays_finite():
    images = np.zeros((4, 2, 2, 2), np.uint8)
    images[..., 1] = RNG.integers(0, 9, (4, 2, 2))
    fitted = fit_standardisation(images, np.arange(4), (0, 0))
    assert np.isfinite(fitted.apply(images)).all()
    assert fitted.display(fitted.apply(images)).dtype == np.uint8


def test_large_means_lose_no_digits():
    images = (1e6 + RNG.standard_normal((200, 4, 4, 1))).astype(np.float32)
    fitted = fit_standardisation(images, np.arange(200), (0, 1))
    assert fitted.std[0] == pytest.approx(images.astype(np.float64).std(), rel=1e-12)


@pytest.mark.parametrize("n_classes", [2, 7, 100])
def test_labels_are_centred_one_hot(n_classes):
    labels = RNG.integers(0, n_classes, 30)
    y = centred_one_hot(labels, n_classes)
    np.testing.assert_allclose(y, np.eye(n_classes)[labels] - 1 / n_classes, atol=1e-15)
    np.testing.assert_allclose(y.sum(axis=1), 0, atol=1e-12)
