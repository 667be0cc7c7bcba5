"""Augmentation: each change by itself against NumPy, and draws that depend on nothing but seed, step and place."""

import numpy as np
import pytest

from hpcdistill.data.augment import Augmentation, Changes

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (40, 9, 9, 3)).astype(np.uint8)


def augmentation(**given):
    nothing = {"rotation": 0, "shift": 0, "flip": False, "channel_shift": 0, "unchanged": 0, "display_range": (0, 255)}
    return Augmentation(**nothing | given)


def changes(n=1, **given):
    nothing = {"angles": np.zeros(n), "shifts": np.zeros((n, 2)), "mirrored": np.zeros(n, bool),
               "offsets": np.zeros((n, 3)), "display_range": (0, 255)}  # fmt: skip
    return Changes(**nothing | {name: np.asarray(value) for name, value in given.items()})


def test_a_quarter_turn():
    for turns in (1, 2, 3):
        turned = changes(angles=[np.pi / 2 * turns]).apply(IMAGES[:1], 0)
        np.testing.assert_allclose(turned[0], np.rot90(IMAGES[0], turns, axes=(0, 1)), atol=1e-9)


def test_a_shift_by_whole_pixels():
    (shifted,) = changes(shifts=[[2 / 9, -1 / 9]]).apply(IMAGES[:1], 0)
    np.testing.assert_allclose(shifted[2:, :-1], IMAGES[0][:-2, 1:], atol=1e-9)
    np.testing.assert_allclose(shifted[0, :-1], IMAGES[0][0, 1:], atol=1e-9)  # the border goes on


def test_a_shift_by_half_a_pixel_is_the_mean_of_two():
    (shifted,) = changes(shifts=[[0.5 / 9, 0]]).apply(IMAGES[:1], 0)
    np.testing.assert_allclose(shifted[1:], (IMAGES[0][1:].astype(float) + IMAGES[0][:-1]) / 2, atol=1e-9)


def test_a_mirror_image():
    (mirrored,) = changes(mirrored=[True]).apply(IMAGES[:1], 0)
    np.testing.assert_array_equal(mirrored, IMAGES[0][:, ::-1])


def test_a_channel_shift_is_clipped():
    (tinted,) = changes(offsets=[[30, -20, 0]]).apply(IMAGES[:1], 0)
    np.testing.assert_allclose(tinted, np.clip(IMAGES[0] + np.array([30.0, -20.0, 0.0]), 0, 255))


@pytest.mark.parametrize(
    "given",
    [
        {"rotation": 10},
        {"shift": 0.1},
        {"flip": True},
        {"channel_shift": 0.1},
        {"rotation": 10, "flip": True, "shift": 0.1},
    ],
)
def test_rows_do_not_depend_on_who_asks_for_them(given):
    drawn = augmentation(**given).draw(40, 3, seed=3, step=5)
    whole = drawn.apply(IMAGES, 0)
    parts = [drawn.apply(IMAGES[a:b], a) for a, b in ((0, 7), (7, 30), (30, 40))]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert (whole != IMAGES).any(axis=(1, 2, 3)).mean() > (0.3 if given == {"flip": True} else 0.9)
    again = augmentation(**given).draw(40, 3, seed=3, step=5).apply(IMAGES, 0)
    np.testing.assert_array_equal(again, whole)
    for other in ({"seed": 4, "step": 5}, {"seed": 3, "step": 6}):
        assert (augmentation(**given).draw(40, 3, **other).apply(IMAGES, 0) != whole).any()


def test_changes_stay_within_their_limits_and_fill_them():
    drawn = augmentation(rotation=10, shift=0.1, flip=True, channel_shift=0.2, display_range=(-1, 1)).draw(
        4000, 3, 0, 0
    )
    for values, limit in ((drawn.angles, np.deg2rad(10)), (drawn.shifts, 0.1), (drawn.offsets, 0.4)):
        assert 0.99 * limit < abs(values).max() <= limit
        assert abs(values.mean()) < 0.05 * limit
    assert 0.45 < drawn.mirrored.mean() < 0.55


def test_a_fraction_stays_as_it_is():
    drawn = augmentation(rotation=10, flip=True, channel_shift=0.1, unchanged=0.25).draw(4000, 3, 0, 0)
    same = (drawn.angles == 0) & ~drawn.mirrored & (drawn.offsets == 0).all(axis=1)
    assert 0.22 < same.mean() < 0.28
    kept = np.flatnonzero(same[:40])
    np.testing.assert_array_equal(drawn.apply(IMAGES, 0)[kept], IMAGES[kept])


def test_when_nothing_changes():
    assert augmentation().changes_nothing
    assert augmentation(rotation=5, unchanged=1.0).changes_nothing
    assert not augmentation(flip=True).changes_nothing
