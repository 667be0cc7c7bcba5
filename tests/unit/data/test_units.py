"""Images in other units than those they are compared with are noticed, ordinary differences are not."""

import numpy as np
import pytest

from hpcdistill.data.preprocess import fit_standardisation
from hpcdistill.data.readers import load_dataset
from hpcdistill.data.units import check_units
from hpcdistill.errors import DataError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (50, 6, 6, 3)).astype(np.float32)


def check(images, other):
    check_units(fit_standardisation(images, np.arange(len(images)), (0, 255)), other, "these")


OTHERS = {"0…1": IMAGES / 255, "0…65535": IMAGES * 257, "offset": IMAGES + 5000, "-1…1": IMAGES / 127.5 - 1}


@pytest.mark.parametrize("name", OTHERS)
def test_other_units(name):
    with pytest.raises(DataError, match="these have pixels of .* in other units"):
        check(IMAGES, OTHERS[name])
    with pytest.raises(DataError, match="these have pixels of .* in other units"):
        check(OTHERS[name], IMAGES)


ALIKE = {"dark": IMAGES / 8, "bright": 255 - IMAGES / 8, "few": IMAGES[:1], "constant": np.zeros_like(IMAGES),
         "of one unit": IMAGES + 300}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_ordinary_differences(name):
    check(IMAGES, ALIKE[name])


def test_constant_training_images():
    check(np.zeros_like(IMAGES), np.zeros_like(IMAGES))


def test_one_channel_is_bright_and_the_others_are_dark():
    images = IMAGES * np.array([1.0, 0.001, 0.001], np.float32)
    check(images, images[::2])


@pytest.mark.parametrize("factor", [1 / 255, 255])
def test_a_file_whose_test_images_are_in_other_units_is_refused(tmp_path, factor):
    labels = np.arange(50) % 2
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=labels, test_images=IMAGES * np.float32(factor),
             test_labels=labels)  # fmt: skip
    with pytest.raises(DataError, match=r"x\.npz: 'test_images' have pixels of .*the training images' are about 12"):
        load_dataset(str(tmp_path / "x.npz"))
