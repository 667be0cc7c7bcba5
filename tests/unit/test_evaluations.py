"""`OUTPUT/evaluations.json`, and files that are complete or absent."""

import json
from pathlib import Path

import pytest

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.io.evaluations import add_evaluation, read_evaluations
from hpcdistill.io.whole_file import whole_file

RECORD = {"kind": "distilled", "step": 3, "kernel": "FC1 NTK", "images": 10, "test_images": 5, "accuracy": 0.5}


def test_nothing_measured(tmp_path):
    assert read_evaluations(tmp_path) == []


def test_a_record_replaces_what_measured_the_same(tmp_path):
    others = [RECORD | {key: value} for key, value in (("step", 4), ("kernel", "FC2 NTK"), ("images", 20))]
    for record in (RECORD, *others, RECORD | {"accuracy": 0.75}):
        add_evaluation(tmp_path, record)
    assert read_evaluations(tmp_path) == [*others, RECORD | {"accuracy": 0.75}]
    assert [path.name for path in tmp_path.iterdir()] == ["evaluations.json"]


def test_transfers_to_other_widths_stand_beside_each_other(tmp_path):
    for width in (64, 128):
        add_evaluation(tmp_path, {"kind": "transfer", "width": width})
    assert [record["width"] for record in read_evaluations(tmp_path)] == [64, 128]


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"records": 3}', '{"records": [3]}', '{"records": [{}]}'])
def test_a_damaged_file_is_named_and_left_alone(tmp_path, content):
    path = tmp_path / "evaluations.json"
    path.write_text(content)
    for use in (read_evaluations, lambda folder: add_evaluation(folder, RECORD)):
        with pytest.raises(CheckpointError, match=r"evaluations\.json: cannot be read .*measure anew"):
            use(tmp_path)
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written_to(tmp_path):
    add_evaluation(tmp_path, RECORD)
    (tmp_path / "evaluations.json.tmp").mkdir()
    with pytest.raises((StorageError, IsADirectoryError)):
        add_evaluation(tmp_path, RECORD | {"step": 9})
    assert json.loads((tmp_path / "evaluations.json").read_text())["records"] == [RECORD]


def test_whole_file_or_the_one_before(tmp_path):
    path = tmp_path / "out"
    with whole_file(path) as file:
        file.write(b"one")
    with pytest.raises(RuntimeError), whole_file(path) as file:  # noqa: PT012 - the write is part of it
        file.write(b"two")
        raise RuntimeError
    assert path.read_bytes() == b"one"
    assert [entry.name for entry in tmp_path.iterdir()] == ["out"]


def test_a_link_stays_one(tmp_path):
    (tmp_path / "target").write_bytes(b"old")
    (tmp_path / "link").symlink_to("target")
    with whole_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_bytes() == b"new"


def test_what_is_no_file_is_written_to():
    with whole_file(Path("/dev/null")) as file:
        file.write(b"x")
    assert Path("/dev/null").is_char_device()
