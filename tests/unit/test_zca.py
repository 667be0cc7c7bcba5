"""ZCA against its definition, its inverse, and images that it cannot whiten."""

import numpy as np
import pytest
import scipy.linalg

from hpcdistill.data.preprocess import fit_standardisation
from hpcdistill.data.zca import Zca, normalise, second_moment, whitening_matrix

RNG = np.random.default_rng(0)
SHAPE = (5, 4, 3)


def smooth_images(n):
    """Images whose neighbouring pixels are alike, as in photographs."""
    return np.clip(RNG.standard_normal((n, *SHAPE)).cumsum(1).cumsum(2) * 20 + 120, 0, 255).astype(np.uint8)


def fitted(images, reg=0.1):
    standardise = fit_standardisation(images, np.arange(len(images)), (0, 255))
    x = standardise.apply(images)
    norm = np.linalg.norm((x - x.mean(axis=(1, 2, 3), keepdims=True)).reshape(len(x), -1), axis=1).mean()
    return Zca(standardise, whitening_matrix(second_moment(normalise(x)), len(x), reg), reg, float(norm))


@pytest.mark.parametrize("reg", [0.1, 1e-3])
def test_it_is_what_it_is_defined_as(reg):
    """Against the inverse root by another algorithm (Schur), image by image."""
    images = smooth_images(300)
    zca = fitted(images, reg)
    raw = (images - images.mean(axis=(0, 1, 2))) / images.std(axis=(0, 1, 2))
    rows = np.array([(x - x.mean()) / np.linalg.norm(x - x.mean()) for x in raw]).reshape(300, -1)
    covariance = sum(np.outer(v, v) for v in rows) / 300
    ridge = reg * np.trace(covariance) / len(covariance)
    root = scipy.linalg.sqrtm(covariance + ridge * np.eye(len(covariance)))
    wanted = np.linalg.solve(root, rows.T).T.reshape(raw.shape)
    np.testing.assert_allclose(zca.apply(images), wanted, atol=1e-9 * abs(wanted).max())


def test_without_much_ridge_directions_are_white():
    images = smooth_images(3000)
    x = fitted(images, 1e-9).apply(images).reshape(3000, -1)
    values = np.linalg.eigvalsh(x.T @ x / len(x))
    assert abs(values[1:] - 1).max() < 1e-3  # the mean of each image is zero: that direction is empty
    assert values[0] < 1e-6


def test_the_matrix_squared_inverts_the_covariance():
    rows = normalise(smooth_images(200).astype(float))
    moment = second_moment(rows)
    w = whitening_matrix(moment.copy(), 200, 0.1)
    ridged = moment / 200 + 0.1 * np.trace(moment / 200) / len(moment) * np.eye(len(moment))
    np.testing.assert_allclose(w @ ridged @ w, np.eye(len(w)), atol=1e-10)
    np.testing.assert_array_equal(w, w.T)


def test_parts_of_the_images_add_up():
    rows = normalise(smooth_images(50).astype(float))
    np.testing.assert_allclose(second_moment(rows[:17]) + second_moment(rows[17:]), second_moment(rows), atol=1e-12)


def test_displayed_images_look_like_the_originals():
    """But for brightness and contrast, which are lost: pixel by pixel they are correlated."""
    images = smooth_images(100)
    zca = fitted(images)
    shown = zca.display(zca.apply(images))
    assert shown.dtype == np.uint8
    for one, other in zip(images, shown, strict=True):
        inside = (other > 0) & (other < 255)
        assert (
            np.corrcoef(zca.standardisation.apply(one)[inside], zca.standardisation.apply(other)[inside])[0, 1] > 0.999
        )
    spread = zca.standardisation.apply(shown).reshape(100, -1).std(axis=1)
    assert np.median(spread) == pytest.approx(
        np.median(zca.standardisation.apply(images).reshape(100, -1).std(axis=1)), rel=0.2
    )


def test_constant_images_become_zeros_and_grey():
    images = smooth_images(50)
    images[7] = 99
    zca = fitted(images)
    constant = np.rint(
        zca.standardisation.invert(np.full((1, *SHAPE), 0.3))
    )  # the same in all channels once standardised
    assert abs(normalise(np.full((1, *SHAPE), 4.2))).max() < 1e-12
    assert np.isfinite(zca.apply(constant)).all()
    assert zca.display(np.zeros((1, *SHAPE))).std() < 30


def test_the_matrix_does_not_depend_on_the_scale_of_the_images():
    """Each image is normalised, so a file of floats in 0…1 gives what bytes give."""
    images = smooth_images(80)
    a, b = fitted(images), fitted((images / 255).astype(np.float64))
    np.testing.assert_allclose(a.apply(images), b.apply((images / 255).astype(np.float64)), rtol=1e-9, atol=1e-12)
