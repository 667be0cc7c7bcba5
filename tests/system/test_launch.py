"""What the tests here lean on: commands that hang are ended and say where; what outlives a test is not missed."""

import os
import subprocess
import sys

import pytest
from launch import MARK, end_session, finish, marked_processes, run, start, wait_until

HANGING = """
import time
def waits_for_ever():
    time.sleep(1000)
waits_for_ever()
"""


def test_a_command_that_hangs_is_ended_and_says_where_each_rank_was():
    with pytest.raises(AssertionError, match="still running after 10 s") as info:
        run(ranks=2, program=(sys.executable, "-c", HANGING), timeout=10)
    assert str(info.value).count("in waits_for_ever") == 2
    assert marked_processes(os.environ[MARK]) == []


def test_what_a_test_has_started_is_found_until_it_ends():
    process = start([sys.executable, "-c", HANGING])
    try:
        (line,) = wait_until(lambda: marked_processes(os.environ[MARK]))
        assert line.startswith(f"{process.pid}: ")
        assert "waits_for_ever" in line
    finally:
        end_session(process)
    process.wait()
    assert marked_processes(os.environ[MARK]) == []


def test_waiting_ends_with_the_process_that_is_waited_for():
    process = start([sys.executable, "-c", "import sys; sys.exit(7)"])
    with pytest.raises(AssertionError, match="a sign: the process has ended with 7"):
        wait_until(lambda: False, "a sign", process)


ALONE = """
import os
from hpcdistill.mpi.binding import MPI
print(sorted(name for name in os.environ if "singleton" in name or "session" in name))
"""


def test_many_processes_without_a_launcher_start_at_once():
    """None removes a folder that another makes; and what they start is not told that it is alone."""
    for _ in range(8):
        started = [start([sys.executable, "-c", ALONE], stdout=subprocess.PIPE) for _ in range(6)]
        assert [(*finish(process), process.returncode) for process in started] == [("[]\n", None, 0)] * 6
