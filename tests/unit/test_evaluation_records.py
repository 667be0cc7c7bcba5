"""`OUTPUT/evaluations`: a file for each measurement."""

import threading

import pytest

from hpcdistill.errors import CheckpointError, StorageError
from hpcdistill.io.evaluation_records import read_evaluation, read_evaluations, write_evaluation

RECORD = {"kind": "distilled", "key": "0123", "accuracy": 0.5}


def without_dates(records):
    assert all(record.pop("date") for record in records)
    return records


def test_nothing_measured(tmp_path):
    assert read_evaluations(tmp_path) == []
    assert read_evaluation(tmp_path, "distilled", "0123") is None


def test_a_record_replaces_what_measured_the_same(tmp_path):
    others = [RECORD | {"key": "4567"}, RECORD | {"kind": "natural"}]
    for record in (RECORD, *others, RECORD | {"accuracy": 0.75}):
        write_evaluation(tmp_path, record)
    found = without_dates(read_evaluations(tmp_path))
    assert sorted(found, key=str) == sorted([*others, RECORD | {"accuracy": 0.75}], key=str)
    assert read_evaluation(tmp_path, "distilled", "0123")["accuracy"] == 0.75
    assert sorted(path.name for path in (tmp_path / "evaluations").iterdir()) == [
        "distilled-0123.json", "distilled-4567.json", "natural-0123.json"]  # fmt: skip


def test_processes_that_measure_side_by_side_keep_all_records(tmp_path):
    def measure(first):
        for i in range(first, 60, 3):
            write_evaluation(tmp_path, RECORD | {"key": f"{i:04}"})

    writers = [threading.Thread(target=measure, args=(first,)) for first in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert {record["key"] for record in read_evaluations(tmp_path)} == {f"{i:04}" for i in range(60)}


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"kind": "x"}', '{"kind": 3, "key": "0123"}', "[" * 100_000])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "evaluations/distilled-0123.json"
    path.parent.mkdir()
    path.write_text(content)
    for use in (read_evaluations, lambda folder: read_evaluation(folder, "distilled", "0123")):
        with pytest.raises(CheckpointError, match=r"distilled-0123\.json: cannot be read .*measure anew"):
            use(tmp_path)
    assert path.read_text() == content


def test_a_folder_that_cannot_be_written_to(tmp_path):
    with pytest.raises(StorageError, match=r"distilled-0123\.json: cannot be written .*What was measured is above"):
        write_evaluation(tmp_path / "gone", RECORD)
