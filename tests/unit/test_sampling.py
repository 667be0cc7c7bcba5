import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpcdistill.data.sampling import draw_batch, draw_subset, draw_support, hold_out, make_pool, split_off_test
from hpcdistill.errors import ConfigError

LABELS = np.repeat([0, 1, 2], [30, 20, 25])[np.random.default_rng(0).permutation(75)]
POOL = make_pool(LABELS, 3)
PINNED_BATCH = [33, 51, 10, 2, 30, 41]
PINNED_SUPPORT = [39, 67, 60, 11, 2, 68]


@given(st.integers(1, 60), st.integers(0, 5), st.integers(0, 1000))
def test_batches_are_balanced_distinct_and_a_function_of_seed_and_step(count, seed, step):
    batch = draw_batch(POOL, count, seed, step)
    assert len(set(batch)) == count
    shares = np.bincount(LABELS[batch], minlength=3)
    assert shares.max() - shares.min() <= 1
    np.testing.assert_array_equal(batch, draw_batch(POOL, count, seed, step))


def test_steps_seeds_and_draws_differ():
    assert not np.array_equal(draw_batch(POOL, 30, 0, 0), draw_batch(POOL, 30, 0, 1))
    assert not np.array_equal(draw_batch(POOL, 30, 0, 0), draw_batch(POOL, 30, 1, 0))
    assert not np.array_equal(draw_support(POOL, 5, 0, 0), draw_support(POOL, 5, 0, 1))


def test_draws_are_pinned():
    """A change here changes every user's runs: it must be meant, and said in the changelog."""
    assert draw_batch(POOL, 6, seed=0, step=3).tolist() == PINNED_BATCH
    assert draw_support(POOL, 2, seed=0).tolist() == PINNED_SUPPORT


def test_support_is_ordered_by_class():
    np.testing.assert_array_equal(LABELS[draw_support(POOL, 4, 1)], np.repeat([0, 1, 2], 4))


def test_every_image_can_be_drawn():
    seen = {i for step in range(60) for i in draw_batch(POOL, 30, 0, step)}
    assert seen == set(range(75))


def test_held_out_images_are_balanced_and_gone_from_the_pool():
    rest, held = hold_out(POOL, 12, seed=0)
    assert np.bincount(LABELS[held]).tolist() == [4, 4, 4]
    assert set(held).isdisjoint(rest.indices)
    assert len(rest) == 63
    assert hold_out(POOL, 0, seed=0)[0] is POOL


def test_a_class_with_too_few_images_is_named():
    with pytest.raises(ConfigError, match=r"class 1, which has 20.*at most 60"):
        draw_support(POOL, 21, 0)


def test_a_small_class_is_drawn_several_times_for_a_batch():
    batch = draw_batch(POOL, 75, 0, 0)
    assert np.bincount(LABELS[batch]).tolist() == [25, 25, 25]
    counts = np.bincount(batch, minlength=75)
    assert counts[LABELS != 1].max() == 1
    assert counts[LABELS == 1].max() > 1


def test_a_proportional_batch_has_classes_as_they_are():
    batch = draw_batch(POOL, 15, 0, 0, "proportional")
    assert np.bincount(LABELS[batch]).tolist() == [6, 4, 5]
    assert len(set(batch)) == 15
    assert sorted(draw_batch(POOL, 75, 0, 0, "proportional")) == list(range(75))


def test_much_is_held_out_in_proportion():
    rest, held = hold_out(POOL, 45, seed=0)
    assert np.bincount(LABELS[held]).tolist() == [18, 12, 15]
    assert set(held).isdisjoint(rest.indices)


def test_a_test_split_is_drawn_in_proportion():
    held = split_off_test(LABELS, 3, 0.2, seed=0)
    assert np.bincount(LABELS[held]).tolist() == [6, 4, 5]
    assert not np.array_equal(held, split_off_test(LABELS, 3, 0.2, seed=1))
    with pytest.raises(ConfigError, match="data.test_share=0.001 leaves"):
        split_off_test(LABELS, 3, 0.001, seed=0)


def test_holding_out_a_whole_class_is_refused():
    with pytest.raises(ConfigError, match="leaves a class without"):
        hold_out(POOL, 75, seed=0)


def test_a_subset_is_balanced():
    subset = draw_subset(POOL, 14, 0, "data.train_size")
    assert sorted(len(members) for members in subset.by_class) == [4, 5, 5]
    assert draw_subset(POOL, 0, 0, "data.train_size") is POOL
    with pytest.raises(ConfigError, match="data.train_size=2.*Use at least 3"):
        draw_subset(POOL, 2, 0, "data.train_size")
