"""What a checkpoint says of the messages of its run: kept, added to, shown, and damaged."""

import json

import pytest
from reports import Page, make_checkpoint

from hpcdistill.errors import CheckpointError
from hpcdistill.io.checkpoint import Checkpoint
from hpcdistill.io.exchanged import ATTRIBUTE, Exchanged, size_in_words
from hpcdistill.io.report.document import report

SOME = Exchanged(3, 2, 6, {"Allreduce": (8, 5000), "bcast": (4, 24)})


def stored(exchanged):
    return Checkpoint({}, {ATTRIBUTE: exchanged.to_attribute()})


def test_what_is_kept_is_read():
    assert Exchanged.stored(stored(SOME)) == SOME
    assert Exchanged.stored(Checkpoint({})) is None


def test_a_run_that_goes_on_adds_up_on_as_many_ranks_and_else_begins_anew():
    assert Exchanged.begun(stored(SOME), 3, 6) == SOME
    for checkpoint, ranks in ((stored(SOME), 2), (Checkpoint({}), 3), (None, 3)):
        assert Exchanged.begun(checkpoint, ranks, 6) == Exchanged(ranks, 6, 6)


def test_messages_are_added():
    calls, n_bytes = {"bcast": 1, "Recv": 2}, {"bcast": 6, "Recv": 80}
    found = SOME.with_messages(7, calls, n_bytes)
    assert found == Exchanged(3, 2, 7, {"Allreduce": (8, 5000), "bcast": (5, 30), "Recv": (2, 80)})
    assert found.total == (15, 5110)


def test_a_line_on_an_average_step():
    assert SOME.summary == "1.26 kB in 3 messages per step, rank 0 of 3"
    assert Exchanged(1, 0, 5).summary == ""


@pytest.mark.parametrize(
    ("n_bytes", "words"),
    [(0, "0 B"), (12, "12 B"), (999, "999 B"), (2500, "2.5 kB"), (999_600, "1000 kB"), (3.7e7, "37 MB"),
     (5e12, "5000 GB")],
)  # fmt: skip
def test_sizes(n_bytes, words):
    assert size_in_words(n_bytes) == words


def test_the_report_shows_them_by_step_and_in_all():
    cells = Page(report(make_checkpoint(), (), {})).cells
    first = cells.index("sums of arrays (Allreduce)")
    assert cells[first + 1 : first + 5] == ["2", "1.25 kB", "8", "5 kB"]
    last = cells.index("all")
    assert cells[last + 1 : last + 5] == ["3", "1.26 kB", "12", "5.02 kB"]


@pytest.mark.parametrize("text", ["", '{"ranks": 1, "since": 0, "step": 4, "messages": {}}'])
def test_a_report_on_one_rank_or_an_older_run_has_no_such_table(text):
    checkpoint = make_checkpoint()
    del checkpoint.attributes[ATTRIBUTE]
    if text:
        checkpoint.attributes[ATTRIBUTE] = text
    assert "Exchanged" not in Page(report(checkpoint, (), {})).text


GOOD = {"ranks": 3, "since": 2, "step": 6, "messages": {"Bcast": [1, 2]}}


@pytest.mark.parametrize("wrong", [
    "{", "[]", "3", GOOD | {"ranks": "3"}, GOOD | {"step": 1.5}, GOOD | {"messages": [1]},
    GOOD | {"messages": {"Bcast": 3}}, GOOD | {"messages": {"Bcast": [1, 2**63]}}, GOOD | {"messages": {"Bcast": [1]}},
    {"ranks": 3},
])  # fmt: skip
def test_damage_is_named(wrong):
    text = wrong if isinstance(wrong, str) else json.dumps(wrong)
    with pytest.raises(CheckpointError, match="attribute exchanged is damaged.*Use another checkpoint"):
        Exchanged.stored(Checkpoint({}, {ATTRIBUTE: text}))
