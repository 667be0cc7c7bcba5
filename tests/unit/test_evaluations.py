"""`OUTPUT/evaluations.json`."""

import pytest

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.io.evaluations import add_evaluation, read_evaluations

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
    with pytest.raises(StorageError, match=r"evaluations\.json: cannot be written .*What was measured is above"):
        add_evaluation(tmp_path / "gone", RECORD)
