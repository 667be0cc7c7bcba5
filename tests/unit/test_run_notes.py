import numpy as np
import pytest

from hpcdistill.errors import TakenOverError
from hpcdistill.io.run_notes import FurthestStep, RunNotes

CONFUSION = np.array([[3, 1], [0, 3]])


def test_a_step_that_is_saved_is_noted_at_once(tmp_path):
    notes = RunNotes(tmp_path)
    notes.write_reached(1, 0.5)
    notes.write_reached(2, 0.6)
    assert notes.read_reached() == FurthestStep(1, 0.5)
    notes.write_reached(3, 0.7, is_saved=True)
    assert notes.read_reached() == FurthestStep(3, 0.7)


def test_who_takes_over_last_may_write(tmp_path):
    first, second = RunNotes(tmp_path), RunNotes(tmp_path)
    first.check_owner()  # nobody has said anything yet
    first.take_over()
    first.check_owner()
    second.take_over()
    second.check_owner()
    with pytest.raises(TakenOverError, match=r"another run has taken over this folder \(process \d+ on .*--output"):
        first.check_owner()


def test_step_reached_is_noted_now_and_then(tmp_path, monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("hpcdistill.io.run_notes.time.monotonic", lambda: clock[0])
    notes = RunNotes(tmp_path)
    assert notes.read_reached() is None
    for step, clock[0] in ((1, 10.0), (2, 10.5), (3, 11.0), (4, 11.9)):
        notes.write_reached(step, step / 8)
    assert (notes.read_reached().step, notes.read_reached().seconds) == (3, 3 / 8)


def test_tally_belongs_to_one_evaluation(tmp_path):
    notes = RunNotes(tmp_path)
    notes.write_tally("a", 7, np.array([1 / 3, 2 / 7]), np.stack([CONFUSION, CONFUSION + 1]))
    done, squares, confusion = RunNotes(tmp_path).read_tally("a")
    assert (done, squares.tolist()) == (7, [1 / 3, 2 / 7])
    np.testing.assert_array_equal(confusion, [CONFUSION, CONFUSION + 1])
    assert notes.read_tally("b")[0] == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[1]",
        "3",
        '{"of": "a"}',
        '{"of": "a", "done": 3}',
        '{"of": "a", "done": 1, "squares": 1, "confusion": "x"}',
        '{"of": "a", "done": 1, "squares": 1.0, "confusion": [[1]]}',
        '{"of": "a", "done": 1, "squares": [1.0, 2.0], "confusion": [[[1]]]}',
    ],
)
def test_damaged_notes_say_nothing(tmp_path, text):
    for name in ("owner", "reached", "evaluation"):
        (tmp_path / f"{name}.json").write_text(text)
    notes = RunNotes(tmp_path)
    assert notes.read_reached() is None
    assert notes.read_tally("a")[0] == 0
    notes.check_owner()


def test_notes_that_cannot_be_written_are_no_error(tmp_path):
    notes = RunNotes(tmp_path / "nowhere")
    notes.write_reached(1, 1.0)
    notes.write_tally("a", 1, np.ones(1), CONFUSION[None])
    assert list(tmp_path.iterdir()) == []
