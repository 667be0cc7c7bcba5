import os
import signal

import pytest

from hpcdistill import attempt


@pytest.fixture
def status(tmp_path, monkeypatch):
    path = attempt.status_path(tmp_path, "5_1", 2)
    monkeypatch.setenv("HPCDISTILL_STATUS", str(path))
    return path


def test_the_first_end_is_heard(status):
    attempt.report_running()
    assert attempt.read_status(status) == "running"
    attempt.report_ended(2)
    attempt.report_ended(1)
    assert attempt.read_status(status) == "2"


def test_nothing_is_reported_without_a_script(tmp_path, monkeypatch):
    monkeypatch.delenv("HPCDISTILL_STATUS", raising=False)
    monkeypatch.chdir(tmp_path)
    attempt.report_running()
    attempt.report_ended(0)
    assert list(tmp_path.iterdir()) == []


def test_a_status_that_cannot_be_written_is_no_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HPCDISTILL_STATUS", str(tmp_path / "nowhere/status"))
    attempt.report_running()
    attempt.report_ended(4)


def test_attempts_are_in_order(tmp_path):
    for number in (1, 2, 10):
        attempt.status_path(tmp_path, "5", number).write_text(f"{number}\n")
    attempt.status_path(tmp_path, "51", 1).write_text("other\n")
    assert attempt.read_attempts(tmp_path, "5") == ["1", "2", "10"]


@pytest.mark.parametrize("number", attempt.STOP_SIGNALS)
def test_signals_are_heard_while_entered(number):
    before = signal.getsignal(number)
    with attempt.StopSignal() as asked:
        assert asked.number == 0
        os.kill(os.getpid(), number)
        assert asked.number == number
    assert signal.getsignal(number) == before
