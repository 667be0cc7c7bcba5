"""ZCA fitted over the ranks' rows, kept, and read back; a matrix too large for memory."""

import numpy as np
import pytest

from mpi4py import MPI

from hpcdistill.config import parse_config
from hpcdistill.data import memory
from hpcdistill.data.dataset import Dataset, Split
from hpcdistill.data.sampling import make_pool
from hpcdistill.data.zca import Zca
from hpcdistill.errors import CheckpointError, ConfigError
from hpcdistill.io.preprocess_file import read_zca
from hpcdistill.mpi.collectives import on_root
from hpcdistill.progress import Reporter
from hpcdistill.run.preprocessing import keep_preprocessing, load_preprocessing, preprocessing_hash

RNG = np.random.default_rng(0)
IMAGES = np.clip(RNG.standard_normal((203, 6, 5, 3)).cumsum(1).cumsum(2) * 20 + 120, 0, 255).astype(np.uint8)
LABELS = np.arange(203) % 4
DATASET = Dataset("made", Split(IMAGES, LABELS), None, tuple("abcd"))
CONFIG = parse_config("", ["preprocess.zca=true", "preprocess.zca_reg=0.05"])


def load(comm, path=None, config=CONFIG):
    return load_preprocessing(comm, config, DATASET, make_pool(LABELS, 4), Reporter(False), zca_file=path)


def test_any_number_of_ranks_fits_the_same(comm):
    together, alone = load(comm), load(MPI.COMM_SELF)
    np.testing.assert_allclose(together.matrix, alone.matrix, atol=1e-10 * abs(alone.matrix).max())
    assert together.display_norm == pytest.approx(alone.display_norm, rel=1e-12)
    np.testing.assert_array_equal(together.matrix, comm.bcast(together.matrix))  # all ranks have rank 0's


def test_what_is_kept_is_read_back_bit_for_bit(comm, shared_tmp_path):
    path = shared_tmp_path / "preprocess.h5"
    fitted = load(comm)
    keep_preprocessing(comm, fitted, path, resumed=False)
    again = load(comm, path)
    np.testing.assert_array_equal(again.matrix, fitted.matrix)
    assert (again.reg, again.display_norm) == (fitted.reg, fitted.display_norm)
    assert preprocessing_hash(again) == preprocessing_hash(fitted) != ""
    np.testing.assert_array_equal(again.apply(IMAGES[:3]), fitted.apply(IMAGES[:3]))


def test_a_damaged_file_is_an_error_on_every_rank(comm, shared_tmp_path):
    path = shared_tmp_path / "preprocess.h5"
    keep_preprocessing(comm, load(comm), path, resumed=False)
    content = path.read_bytes()
    comm.Barrier()
    on_root(comm, lambda: path.write_bytes(content[:20000] + b"\1" * 8 + content[20008:]))
    with pytest.raises(CheckpointError, match="preprocess.h5: "):
        load(comm, path)
    with pytest.raises(CheckpointError, match="no such file"):
        read_zca(shared_tmp_path / "nowhere.h5")


def test_too_many_features_are_refused_on_every_rank(comm, monkeypatch):
    monkeypatch.setattr(memory, "available_bytes", lambda: 8 * 90**2 if comm.Get_rank() == 0 else 10**12)
    with pytest.raises(ConfigError, match=r"preprocess.zca of 90 features \(\d ranks on a node\) needs"):
        load(comm)


def test_without_zca_channels_are_standardised(comm):
    x = load(comm, config=parse_config("")).apply(IMAGES)
    np.testing.assert_allclose(x.mean(axis=(0, 1, 2)), 0, atol=1e-12)
    assert not isinstance(load(comm, config=parse_config("")), Zca)
