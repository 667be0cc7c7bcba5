"""A job that something interrupts goes on by itself, and ends as if nothing had happened."""

import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
from batch_jobs import CONFIGS, SLOW, Workplace
from kill_loop import differences
from launch import wait_until
from own_files import read_own
from virtual_cluster import Cluster, missing

from hpcdistill.io.run_notes import RunNotes


def check_recovered(job, reference, attempts):
    """The job has ended well after these attempts, and its result is that of the undisturbed run, bit for bit."""
    assert job.wait_for_state("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL") == "COMPLETED", job.log
    assert job.attempts == attempts, job.log
    assert differences(job, reference) == []
    assert list(job.output.rglob("*.tmp")) == []


@pytest.mark.parametrize(("name", "nodes", "ranks"),
                         [("USR2", 1, 2), ("USR2", 2, 2), ("USR2", 2, 4), ("TERM", 1, 2), ("TERM", 2, 2)])  # fmt: skip
def test_signal(workplace, undisturbed, name, nodes, ranks):
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(nodes=nodes, ranks=ranks, acting=SLOW))
    job.wait_for_step(10)
    job.signal(name)
    job.wait_for_attempt(2)
    assert f"stopped by SIG{name}; what was computed is saved" in job.log
    check_recovered(job, undisturbed("kip", ranks), ["75", "0"])
    assert "attempt 2 of this job" in job.log
    assert "no finished step is lost" in job.log
    assert "is requeued and goes on from there" in job.log


@pytest.mark.parametrize("method", ["label_solve", "krr"])
def test_signal_to_other_methods(workplace, undisturbed, method):
    profile = workplace.profile(acting="pause=0.02 stall=12")
    job = workplace.submit(workplace.config(**CONFIGS[method]), profile)
    job.wait_for_step(3)
    job.signal("USR2")
    check_recovered(job, undisturbed(method), ["75", "0"])


def test_preemption_by_a_more_urgent_job(workplace, undisturbed):
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(nodes=2, acting=SLOW))
    job.wait_for_step(10)
    urgent = workplace.submit(
        workplace.config(kip={"steps": 1}), workplace.profile(nodes=2, ranks=4, resources={"partition": "urgent"})
    )
    urgent.wait_for_state("COMPLETED")
    check_recovered(job, undisturbed(), ["75", "0"])
    assert "stopped by SIGUSR2" in job.log


def test_preemption_that_is_announced_by_term(tmp_path, tmp_path_factory, undisturbed):
    """As clusters do that are not told to send the jobs' own signal."""
    if why := missing():
        pytest.skip(f"Slurm: {why}")
    with (
        Cluster(tmp_path_factory.mktemp("cluster"), nodes=1, warn_of_preemption=False) as cluster,
        Workplace(cluster, tmp_path) as workplace,
    ):
        job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(acting=SLOW))
        job.wait_for_step(10)
        urgent = workplace.profile(resources={"partition": "urgent"})
        workplace.submit(workplace.config(kip={"steps": 1}), urgent).wait_for_state("COMPLETED")
        check_recovered(job, undisturbed(), ["75", "0"])
        assert "stopped by SIGTERM" in job.log


def test_time_limit(workplace, undisturbed):
    """Slurm announces the end of the two minutes one to one and a half minutes before it, so more than once here."""
    job = workplace.submit(
        workplace.config(**CONFIGS["kip"]), workplace.profile(acting="slow=1.2", resources={"time": "2"})
    )
    job.wait_for_state("COMPLETED")
    stops = len(job.attempts) - 1
    assert stops >= 1
    check_recovered(job, undisturbed(), ["75"] * stops + ["0"])
    assert job.log.count("stopped by SIGUSR2") == stops


def test_requeue_by_the_user(workplace, undisturbed):
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(nodes=2, acting=SLOW))
    job.wait_for_step(10)
    workplace.cluster.run("scontrol", "requeue", job.id)
    job.wait_for_attempt(2)
    check_recovered(job, undisturbed(), ["75", "0"])
    assert "stopped by SIGTERM" in job.log


@pytest.mark.parametrize(("nodes", "rank"), [(1, 0), (2, 1)])
def test_killed_rank(workplace, undisturbed, nodes, rank):
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(nodes=nodes, acting=SLOW))
    job.wait_for_step(10)
    if nodes == 1:
        os.kill(job.rank_process(rank), signal.SIGKILL)  # and Slurm kills the other one, half a minute later
    else:
        job.kill_rank(rank)
    job.wait_for_attempt(2)
    check_recovered(job, undisturbed(), ["killed", "0"])
    assert "is requeued, restart 1 of 3" in job.log


def test_the_log_says_how_much_is_lost(workplace, undisturbed):
    config = workplace.config(**CONFIGS["kip"] | {"checkpoint": {"every": 100}})
    job = workplace.submit(config, workplace.profile(acting="slow=0.2 stall=25"))
    notes = RunNotes(job.output)
    job.wait_for_step(18)  # the papers' schedule has it; the next is 26
    wait_until(lambda: notes.read_reached().step > 20, "a step above 20")
    job.kill_rank(0)
    reached = notes.read_reached().step
    job.wait_for_state("COMPLETED")
    again = reached - 18
    assert re.search(rf"the run had got to step {reached}: {again} steps \(\d+\.\d s\) will be done again", job.log)
    arrays = [read_own(run.output / "latest.h5").arrays["support/images"] for run in (job, undisturbed())]
    np.testing.assert_array_equal(*arrays)


def test_label_solve_with_a_killed_rank(workplace, undisturbed):
    job = workplace.submit(workplace.config(**CONFIGS["label_solve"]), workplace.profile())
    job.wait_for_step(3)
    job.kill_rank(1)
    check_recovered(job, undisturbed("label_solve"), ["killed", "0"])


def test_lost_node(workplace, undisturbed):
    """Everything on one of two nodes dies; the job waits for the node to come back."""
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(nodes=2, acting=SLOW))
    job.wait_for_step(10)
    workplace.cluster.kill_node("node1")
    job.wait_for_state("PENDING")
    workplace.cluster.start_slurmd("node1")
    job.wait_for_attempt(2)
    check_recovered(job, undisturbed(), [job.attempts[0], "0"])


def test_lost_slurmd_whose_ranks_live_on(workplace, undisturbed):
    """Slurm takes the node for lost and starts the job on another one; what still runs must not write any more."""
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(acting="slow=1"))
    job.wait_for_step(10)
    node = workplace.cluster.run("squeue", "-h", "-j", job.id, "-o", "%N").stdout.strip()
    first = [Path(f"/proc/{job.rank_process(rank)}") for rank in range(2)]
    workplace.cluster.kill_slurmd(node)
    job.wait_for_attempt(2)
    assert all(process.exists() for process in first)
    wait_until(lambda: not any(process.exists() for process in first), "the end of the first attempt's ranks")
    assert job.state == "RUNNING"
    workplace.cluster.start_slurmd(node)
    check_recovered(job, undisturbed(), ["killed", "0"])
