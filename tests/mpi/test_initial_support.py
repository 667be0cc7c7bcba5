"""What KIP starts from, and the pixels that stay noise."""

import dataclasses

import numpy as np
import pytest

from hpcdistill.config import parse_config
from hpcdistill.errors import ConfigError, DataError
from hpcdistill.mpi.collectives import on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.experiment import load_experiment
from hpcdistill.run.initial_support import make_initial_support, noise_mask

pytestmark = pytest.mark.most_ranks(2)

SETTINGS = ["kernel.architecture=FC1", "support.images_per_class=2", "kip.batch=100", "data.train_size=200"]


def experiment(comm, *settings):
    return load_experiment(comm, parse_config("", [*SETTINGS, *settings]), Reporter(False))


def test_natural_images_are_those_it_says(comm):
    loaded = experiment(comm)
    made = make_initial_support(loaded)
    x, y = loaded.natural_support(made.source_index)
    np.testing.assert_array_equal(made.x_s, x)
    np.testing.assert_array_equal(made.y_s, y)


@pytest.mark.parametrize("zca", ["true", "false"])
def test_noise_is_as_large_as_natural_pixels(comm, zca):
    loaded = experiment(comm, "support.init=noise", "support.images_per_class=8", f"preprocess.zca={zca}")
    made = make_initial_support(loaded)
    natural = make_initial_support(experiment(comm, "support.images_per_class=8", f"preprocess.zca={zca}"))
    assert abs(made.x_s.mean()) < 0.05 * natural.x_s.std()
    assert np.square(made.x_s).mean() == pytest.approx(np.square(natural.x_s).mean(), rel=0.1)
    assert (made.source_index == -1).all()
    np.testing.assert_array_equal(made.y_s, natural.y_s)
    assert not np.array_equal(made.x_s, make_initial_support(experiment(comm, "support.init=noise", "seed=1")).x_s)


def test_corruption_takes_the_same_fraction_of_each_image(comm):
    loaded = experiment(comm, "support.corruption=0.3")
    natural, made = make_initial_support(experiment(comm)), make_initial_support(loaded)
    mask = noise_mask(loaded.config, made.x_s.shape)
    assert mask.reshape(20, -1).sum(axis=1).tolist() == [round(0.3 * 64)] * 20
    assert not (mask[0] == mask[1]).all()
    np.testing.assert_array_equal(made.x_s[~mask], natural.x_s[~mask])
    assert (made.x_s[mask] != natural.x_s[mask]).all()
    assert not noise_mask(experiment(comm).config, made.x_s.shape).any()


def test_raw_images_of_a_file_are_preprocessed(comm, shared_tmp_path):
    path, loaded = shared_tmp_path / "mine.npz", experiment(comm)
    train = loaded.dataset.train
    on_root(comm, lambda: np.savez(path, images=train.images[:20], labels=train.labels[:20]))
    made = make_initial_support(experiment(comm, f"support.init={path}"))
    np.testing.assert_allclose(made.x_s, loaded.preprocessing.apply(train.images[:20]))
    assert (made.y_s.argmax(axis=1) == train.labels[:20]).all()


def test_files_that_do_not_fit(comm, shared_tmp_path):
    path = shared_tmp_path / "mine.npz"
    on_root(comm, lambda: np.savez(path, images=200 * np.eye(8)[None].repeat(10, 0), labels=np.arange(10)))
    with pytest.raises(ConfigError, match=r"support.init: .*\(10, 8, 8, 1\).*\(20, 8, 8, 1\).*images_per_class"):
        make_initial_support(experiment(comm, f"support.init={path}"))
    other = shared_tmp_path / "other.npz"
    on_root(comm, lambda: np.savez(other, images=np.eye(9)[None].repeat(20, 0), labels=np.arange(20) % 10))
    with pytest.raises(ConfigError, match=r"other.npz has images \(9, 9, 1\)"):
        make_initial_support(experiment(comm, f"support.init={other}"))
    units = shared_tmp_path / "units.npz"
    on_root(comm, lambda: np.savez(units, images=np.eye(8)[None].repeat(20, 0), labels=np.arange(20) % 10))
    with pytest.raises(DataError, match=r"the images in .*units.npz have pixels of 0…1, .* other units"):
        make_initial_support(experiment(comm, f"support.init={units}"))
    with pytest.raises(ConfigError, match="Valid: natural, noise, or the name of a .h5, .npz or .pt file"):
        make_initial_support(experiment(comm, "support.init=naturall"))


def test_a_step_draws_its_kernel_and_its_batch(comm):
    loaded = experiment(comm, 'kip.architectures=["FC1", "FC2", "FC3"]')
    drawn = [loaded.sampled.index(loaded.batch_kernels(step)) for step in range(60)]
    assert set(drawn) == {0, 1, 2}
    assert drawn == comm.bcast(drawn)
    assert experiment(comm).batch_kernels(3) is not None
    assert dataclasses.replace(loaded, sampled=()).batch_kernels(3) is loaded.kernels


def test_all_training_images_can_be_the_target(comm):
    loaded = experiment(comm)
    targets = loaded.batch_targets(5, 0)
    assert targets.count == len(loaded.pool) == 200
    x, y = targets.fetch(0, 200)
    np.testing.assert_array_equal(x, loaded.preprocessing.apply(loaded.dataset.train.images[loaded.pool.indices]))
    assert y.shape == (200, 10)


def test_augmented_targets_are_changed_before_preprocessing_whoever_asks(comm):
    loaded = experiment(comm, "augment.rotation=20", "preprocess.zca=true", "augment.unchanged=0.5")
    plain = experiment(comm, "preprocess.zca=true").batch_targets(3, 100).fetch(0, 100)[0]
    targets = loaded.batch_targets(3, 100)
    whole = targets.fetch(0, 100)[0]
    np.testing.assert_allclose(targets.fetch(37, 61)[0], whole[37:61], atol=1e-12)
    same = np.isclose(whole, plain, atol=1e-9).all(axis=(1, 2, 3))
    assert 30 < same.sum() < 70
    assert (loaded.batch_targets(4, 100).fetch(0, 100)[0] != whole).any()


def test_labels_are_scaled_everywhere(comm):
    loaded, plain = experiment(comm, "support.label_scale=3.0"), experiment(comm)
    for a, b in (
        (loaded.batch_targets(0, 100), plain.batch_targets(0, 100)),
        (loaded.test_targets(), plain.test_targets()),
    ):
        np.testing.assert_allclose(a.fetch(0, 20)[1], 3 * b.fetch(0, 20)[1])
    np.testing.assert_allclose(make_initial_support(loaded).y_s, 3 * make_initial_support(plain).y_s)
