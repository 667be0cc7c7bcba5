"""A job that cannot succeed ends soon, is not tried again, and says why where its user looks."""

import re
import sys

import pytest
from batch_jobs import CONFIGS, SLOW


def test_rank_that_raises(workplace):
    """In the log, in the face of who waits, and in the exit code; the other rank does not wait for ever."""
    profile = workplace.profile(nodes=2, acting="fail=1", resources={"time": "5"})
    config = workplace.config(kip={"steps": 1000})
    result = workplace.call("submit", config, "--profile", profile, "--output", workplace.folder / "out", "--wait")
    assert result.code == 1
    job_id = re.search(r"^job (\d+):", result.stdout, re.MULTILINE)[1]
    for text in (result.stdout, (workplace.folder / f"out/slurm/{job_id}_0_log.out").read_text()):
        assert "hpcdistill: internal error on rank 1:" in text
        assert "LookupError: a cosmic ray" in text
    assert f"job {job_id}: FAILED" in result.stdout
    assert [path.name for path in (workplace.folder / "out/slurm").glob("*.attempt-*")] == [f"{job_id}.attempt-1"]


def test_input_error(workplace):
    """Known on the nodes only: too many images for the data set."""
    config = workplace.config(support={"images_per_class": 1000}, kip={"batch": 20000})
    result = workplace.call("submit", config, "--profile", workplace.profile(), "--wait")
    assert result.code == 2
    assert "hpcdistill: error: support.images_per_class=1000" in result.stdout
    assert "requeued" not in result.stdout
    assert len(list(workplace.folder.glob("runs/*/slurm/*.attempt-*"))) == 1


def test_numerical_failure(workplace):
    config = workplace.config(kip={"learning_rate": 1e200})
    result = workplace.call("submit", config, "--profile", workplace.profile(), "--wait")
    assert result.code == 3
    assert "hpcdistill: error: support images with pixels" in result.stdout


@pytest.mark.parametrize("ranks", [2, 4])
def test_mpi_none(workplace, ranks):
    profile = workplace.profile(nodes=2, ranks=ranks, launch={"mpi": "none"})
    result = workplace.call("submit", workplace.config(), "--profile", profile, "--wait")
    assert result.code == 2
    assert result.stdout.count(f"hpcdistill: error: srun has started {ranks} tasks that cannot find each other") == 1
    assert "launch.mpi in the profile" in result.stdout


def test_a_shell_that_is_a_job_step(workplace):
    """As `srun --pty bash` gives: one task that has no others to find."""
    command = f"{sys.executable} -m hpcdistill run {workplace.config()} --output {workplace.folder}/out && echo done"
    said = workplace.cluster.run("srun", "--mpi=none", "--ntasks=1", "bash", "-c", command).stdout
    assert "ranks 1," in said
    assert said.rstrip().endswith("done")


def test_mpi_that_does_not_suit(workplace):
    """Open MPI ends such a process while MPI starts, before we could say a word."""
    profile = workplace.profile(nodes=2, launch={"mpi": "pmi2"})
    result = workplace.call("submit", workplace.config(), "--profile", profile, "--wait")
    assert result.code == 1
    assert "before MPI had started" in result.stdout
    assert "launch.mpi" in result.stdout


def test_single_ranks_instead_of_one_communicator(workplace):
    """As with an MPI that starts alone where it finds no others: here, because it does not hear of Slurm."""
    hidden = "env -u PMIX_RANK -u PMIX_NAMESPACE -u SLURM_JOBID -u SLURM_NODELIST PMI_FD=0"
    profile = workplace.profile(launch={"container": hidden})
    result = workplace.call("submit", workplace.config(), "--profile", profile, "--wait")
    assert result.code == 2, result.stdout
    assert result.stdout.count("hpcdistill: error: srun has started 2 ranks, but MPI has 1: --mpi does not suit") == 1


def test_python_that_is_not_there(workplace):
    profile = workplace.profile(launch={"python": "/nowhere/python"})
    result = workplace.call("submit", workplace.config(), "--profile", profile, "--wait")
    assert result.code not in (0, 75)
    assert "/nowhere/python" in result.stdout
    assert "launch.python" in result.stdout


def test_no_more_restarts_than_allowed(workplace):
    profile = workplace.profile(acting=SLOW, restart={"max_restarts": 1, "signal_delay_seconds": 60})
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), profile)
    job.wait_for_step(5)
    job.kill_rank(0)
    job.wait_for_attempt(2)
    if job.reaches_step(20):  # now and then Slurm is not done with the first attempt's ranks, and starts no others
        job.kill_rank(0)
    assert job.wait_for_state("FAILED", "COMPLETED") == "FAILED"
    assert job.attempts == ["killed", "killed"]
    assert "as in 1 restarts before: giving up" in job.log
    resumed = workplace.call("submit", workplace.folder / "c0.toml", "--profile", profile, "--output", job.output,
                             "--resume", "--wait")  # fmt: skip
    assert resumed.code == 0, resumed.stdout
    assert "60/60" in resumed.stdout


def test_sbatch_refuses(workplace):
    profile = workplace.profile(resources={"partition": "nowhere"})
    result = workplace.call("submit", workplace.config(), "--profile", profile)
    assert result.code == 2
    (line,) = result.error_lines
    assert line.startswith("hpcdistill: error: sbatch refuses: ")
    assert "partition" in line
    assert "Traceback" not in result.stderr


def test_step_longer_than_the_signal_delay(workplace):
    profile = workplace.profile(acting="slow=1.5", restart={"signal_delay_seconds": 1})
    result = workplace.call("submit", workplace.config(kip={"steps": 3}), "--profile", profile, "--wait")
    assert result.code == 0
    (log,) = workplace.folder.glob("runs/*/slurm/*_0_log.out")
    (warning,) = [line for line in log.read_text().splitlines() if line.startswith("warning: ")]
    assert "restart.signal_delay_seconds" in warning


def test_submitting_twice(workplace):
    """While the first one waits or runs, and when it is done."""
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(acting=SLOW))
    arguments = ("submit", workplace.folder / "c0.toml", "--profile", workplace.profile(), "--output", job.output)
    result = workplace.call(*arguments)
    assert result.code == 2
    assert f"job {job.id} is " in result.error_lines[0]
    job.wait_for_step(5)
    workplace.call("cancel", job.id)
    job.wait_for_state("CANCELLED")
    result = workplace.call(*arguments)
    assert result.code == 2
    assert "holds a run already" in result.error_lines[0]
    result = workplace.call(*arguments, "--resume", "--set", "kernel.architecture=FC2")
    assert result.code == 2
    assert "kernel.architecture: 'FC1' → 'FC2'" in result.error_lines[0]
