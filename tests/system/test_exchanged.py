"""What a run's ranks have said to each other, kept, added up when it goes on, and shown."""

import json

import pytest
from kill_loop import Job
from launch import run, succeed, write_config
from own_files import read_own


def exchanged(job):
    return json.loads(read_own(job.output / "latest.h5").attributes["exchanged"])


def test_counts_are_kept_added_up_and_shown(tmp_path):
    config = write_config(tmp_path / "c.toml", kip={"steps": 4, "evaluate_every": 4})
    job = Job(config, tmp_path / "out", 2)
    job.finish()
    first = exchanged(job)
    assert (first["ranks"], first["since"], first["step"]) == (2, 0, 4)
    assert first["messages"]["Bcast"][0] >= 4 * 9  # support, temperature, moments and counts, step after step
    text = succeed("inspect", job.output / "latest.h5")
    assert "messages per step, rank 0 of 2" in text
    succeed("export", job.output / "latest.h5", "--format", "html", "--output", tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "Exchanged by the ranks" in page
    assert "sums of arrays (Allreduce)" in page

    for ranks, since in ((2, 0), (3, 8)):
        more = run(*job.arguments, "--resume", f"--set=kip.steps={8 if ranks == 2 else 10}", ranks=ranks)
        assert more.code == 0, more.stderr
        found = exchanged(job)
        assert (found["ranks"], found["since"], found["step"]) == (ranks, since, 8 if ranks == 2 else 10)
        if ranks == 2:
            assert found["messages"]["Bcast"][0] == 2 * first["messages"]["Bcast"][0]


def test_one_rank_says_nothing(finished_run):
    assert "messages per step" not in succeed("inspect", finished_run / "out/latest.h5")


@pytest.mark.parametrize("method", ["qr", "normal"])
def test_label_solve_is_the_same_file_on_any_number_of_ranks(tmp_path, method):
    """… and wherever it was resumed on others."""
    settings = {"support": {"images_per_class": 7}, "label_solve": {"chunk": 500, "method": method}}
    config = write_config(tmp_path / "c.toml", method="label_solve", **settings)
    jobs = [Job(config, tmp_path / f"on-{ranks}", ranks) for ranks in (0, 2, 3)]
    for job in jobs:
        job.finish()
    for path in sorted((jobs[2].output / "checkpoints").glob("*.h5"))[1:]:
        path.unlink()
    jobs[2] = Job(config, jobs[2].output, 2)
    jobs[2].finish(resume=True)
    one, *others = (read_own(job.output / "latest.h5").arrays for job in jobs)
    for other in others:
        for name in ("support/labels", "label_solve/square", "history/loss"):
            assert one[name].tobytes() == other[name].tobytes(), name
