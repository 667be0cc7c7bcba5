"""`OUTPUT/preprocess.h5`: whole or absent, and no other file in its place."""

import numpy as np
import pytest

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.io.preprocess_file import StoredZca, read_zca, write_zca

STORED = StoredZca(np.eye(3), 0.1, 2.0)


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match=r"preprocess.h5: cannot be written .*--resume"):
        write_zca(tmp_path / "nowhere/preprocess.h5", STORED)


def test_a_name_that_is_taken_by_a_folder_leaves_nothing_behind(tmp_path):
    (tmp_path / "preprocess.h5").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_zca(tmp_path / "preprocess.h5", STORED)
    assert [path.name for path in tmp_path.iterdir()] == ["preprocess.h5"]


def test_another_file_in_its_place(tmp_path):
    path = tmp_path / "preprocess.h5"
    path.write_bytes(b"hello" * 100)
    with pytest.raises(CheckpointError, match="cannot be read as a ZCA matrix"):
        read_zca(path)
