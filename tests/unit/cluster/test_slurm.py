"""What is said where Slurm's commands are missing, refuse, or do not answer; jobs that Slurm here does not know."""

import sys

import pytest

from hpcdistill.cluster import scheduler, slurm, states
from hpcdistill.cluster.registry import Job, Submission
from hpcdistill.errors import EnvironmentSetupError

FAILING = "import sys; print('one'); print('slurm: two', file=sys.stderr); sys.exit(3)"


@pytest.mark.parametrize(("command", "message"), [
    (["/nowhere/sacct"], "/nowhere/sacct: not found.*login node.*executor = 'local'"),
    ([sys.executable, "-c", FAILING], "slurm: two$"),
    ([sys.executable, "-c", "print('said so'); exit(1)"], "said so$"),
    ([sys.executable, "-c", "exit(5)"], "exit code 5$"),
])  # fmt: skip
def test_commands_that_fail(command, message):
    with pytest.raises(EnvironmentSetupError, match=message):
        slurm._run(*command)


def test_a_command_that_does_not_answer(monkeypatch):
    monkeypatch.setattr(slurm, "_SECONDS", 0.1)
    with pytest.raises(EnvironmentSetupError, match="no answer from Slurm within 0.1 s"):
        slurm._run(sys.executable, "-c", "import time; time.sleep(60)")


@pytest.mark.parametrize(("attempts", "state"), [
    (["75", "0"], "COMPLETED"), (["75"], "CANCELLED"), (["0", "killed"], "FAILED"), (["2"], "FAILED"),
    (["running"], scheduler.FORGOTTEN),
])  # fmt: skip
def test_what_the_last_attempt_tells_of_a_forgotten_job(attempts, state):
    assert states._from_attempts(attempts) == state


@pytest.mark.parametrize(("said", "name", "finished"), [
    (None, "on elsewhere", False), ("running", "on elsewhere", False), ("75", "on elsewhere", False),
    ("killed", "on elsewhere", False), ("0", "COMPLETED", True), ("2", "FAILED", True),
])  # fmt: skip
def test_jobs_of_another_machine_are_over_only_where_they_have_said_so(tmp_path, said, name, finished):
    if said is not None:
        (tmp_path / "7.attempt-1").write_text(said + "\n")
    submission = Submission("local", "elsewhere", str(tmp_path), "2026-01-01", (Job("7", str(tmp_path), {}),))
    state = states.find_states([submission])[str(tmp_path), "7"]
    assert (state.name, state.finished, state.elsewhere) == (name, finished, True)


def test_a_state_that_is_not_known_is_not_the_end():
    assert not states.JobState("EXPEDITING").finished
    assert states.JobState(scheduler.FORGOTTEN).finished
    assert all(states.JobState(name).finished for name in scheduler.FINISHED)
