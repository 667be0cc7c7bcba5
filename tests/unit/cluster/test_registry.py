import shutil

import pytest

from hpcdistill.cluster.registry import Job, Submission, choose, remember, submissions
from hpcdistill.errors import ConfigError, EnvironmentSetupError


@pytest.fixture
def submitted(tmp_path, monkeypatch):
    """A function that remembers a submission of jobs and returns it."""
    monkeypatch.setenv("HPCDISTILL_STATE", str(tmp_path / "state"))

    def submit(date, *ids):
        jobs = []
        for name in ids:
            output = tmp_path / f"{date}-{name}"
            output.mkdir()
            jobs.append(Job(name, str(output), {"seed": name}))
        submission = Submission("slurm", "here", str(tmp_path / "slurm"), date, tuple(jobs))
        remember(submission)
        return submission

    return submit


def test_what_is_remembered_comes_back(submitted):
    first, second = submitted("2026-01-01", "1"), submitted("2026-01-02", "2_0", "2_1")
    assert submissions() == [first, second]


def test_runs_whose_folder_is_gone_are_forgotten(submitted):
    submitted("2026-01-01", "1")
    second = submitted("2026-01-02", "2_0", "2_1")
    shutil.rmtree(second.jobs[0].output)
    shutil.rmtree(submissions()[0].jobs[0].output)
    assert [job.job_id for s in submissions() for job in s.jobs] == ["2_1"]


def test_damaged_files_do_not_count(submitted, tmp_path):
    good = submitted("2026-01-01", "1")
    for k, text in enumerate(["", "{", "[]", '{"jobs": 3}', '{"jobs": []}']):
        (tmp_path / f"state/jobs/x{k}.json").write_text(text)
    assert submissions() == [good]


def test_choosing(submitted):
    old, array = submitted("2026-01-01", "7"), submitted("2026-01-02", "8_0", "8_1")
    new = submitted("2026-01-03", "7")  # another cluster may count from the start again
    found = submissions()
    assert choose(found, ["8"]) == [(array, job) for job in array.jobs]
    assert choose(found, ["8_1", "8"]) == [(array, array.jobs[1]), (array, array.jobs[0])]
    assert choose(found, ["7"]) == [(new, new.jobs[0])]
    assert old != new
    with pytest.raises(ConfigError, match="job '80' is not among those"):
        choose(found, ["80"])


def test_a_home_that_cannot_be_written_to(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HPCDISTILL_STATE", str(tmp_path / "file"))
    with pytest.raises(EnvironmentSetupError, match="Set HPCDISTILL_STATE|set HPCDISTILL_STATE"):
        remember(Submission("slurm", "here", "", "2026", (Job("1", ""),)))
