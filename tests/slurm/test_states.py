"""States of jobs that Slurm has forgotten, with accounting and without."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from batch_jobs import Workplace
from launch import wait_until
from virtual_cluster import Cluster, missing

#: Seconds after which these clusters forget a job that has ended.
REMEMBER = 2


@pytest.fixture(scope="module", params=[False, True], ids=["without accounting", "with accounting"])
def forgetful(request, tmp_path_factory):
    """A cluster that soon forgets, and whether it has accounting."""
    if why := missing(accounting=request.param):
        pytest.skip(f"Slurm: {why}")
    folder = tmp_path_factory.mktemp("forgetful")
    with Cluster(folder, nodes=1, accounting=request.param, remember_seconds=REMEMBER) as cluster:
        yield cluster, request.param


@pytest.fixture
def place(forgetful, tmp_path):
    with Workplace(forgetful[0], tmp_path) as workplace:
        yield workplace


def listed_state(place, job):
    row = place.call("jobs", job.id).stdout.splitlines()[-1].split()
    assert row[0] == job.id
    return row[1]


def test_states_after_slurm_has_forgotten(place):
    good = place.submit(place.config(kip={"steps": 2}), place.profile())
    bad = place.submit(place.config(support={"images_per_class": 1000}, kip={"batch": 20000}), place.profile())
    stopped = place.submit(place.config(kip={"steps": 1000}), place.profile(acting="slow=0.1"))
    stopped.wait_for_step(5)
    place.call("cancel", stopped.id)
    wait_until(lambda: not place.cluster.run("squeue", "-h", "-t", "all").stdout.strip(), "an empty memory", every=0.5)
    assert listed_state(place, good) == "COMPLETED"
    assert listed_state(place, bad) == "FAILED"
    assert listed_state(place, stopped) == "CANCELLED"


def test_waiting_for_a_job_that_fails_and_is_forgotten(place):
    config = place.config(support={"images_per_class": 1000}, kip={"batch": 20000})
    result = place.call("submit", config, "--profile", place.profile(), "--wait")
    assert result.code == 2
    assert "FAILED" in result.stdout.splitlines()[-1]


def test_waiting_while_slurm_does_not_answer(place, forgetful):
    """slurmctld is away for some seconds, as when it is upgraded; the job does not notice, and who waits asks again."""
    config = place.config(kip={"steps": 150}, checkpoint={"every": 10})
    arguments = ["submit", config, "--profile", place.profile(acting="slow=0.1"), "--output", place.folder / "out"]
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(place.call, *arguments, "--wait")
        wait_until((place.folder / "out/latest.h5").exists, "a checkpoint")
        forgetful[0].restart_controller(seconds=3)
        result = waiting.result()
    assert result.code == 0, result.stdout
    assert "COMPLETED" in result.stdout.splitlines()[-1]


def test_sacct_is_what_it_should_be_here(forgetful):
    cluster, accounting = forgetful
    assert (cluster.run("sacct", check=False).returncode == 0) == accounting
