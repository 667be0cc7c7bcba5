"""Submitting to a real Slurm: one run, an array, a plain batch script; and from a machine that lacks most things."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from batch_jobs import CONFIGS, OPEN_MPI, SLOW, SubmittedJob
from kill_loop import differences
from own_files import read_own

REPOSITORY = Path(__file__).parents[2]
#: The command line where MPI, JAX and CuPy cannot be imported, as on many login nodes.
LOGIN_NODE = """
import sys
class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("mpi4py", "jax", "jaxlib", "cupy", "neural_tangents"):
            raise ImportError(f"{name} is not installed on this login node")
sys.meta_path.insert(0, Missing())
from hpcdistill.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize(("nodes", "ranks"), [(1, 2), (2, 2), (2, 4)])
def test_submit_and_wait(workplace, undisturbed, nodes, ranks):
    output, profile = workplace.folder / "out", workplace.profile(nodes=nodes, ranks=ranks)
    result = workplace.call("submit", workplace.config(**CONFIGS["kip"]), "--profile", profile, "--output", output,
                            "--wait", prefix=(sys.executable, "-c", LOGIN_NODE))  # fmt: skip
    assert result.code == 0, result.stdout + result.stderr
    job_id = re.search(r"^job (\d+):", result.stdout, re.MULTILINE)[1]
    job = SubmittedJob(workplace.cluster, job_id, output, output / f"slurm/{job_id}_0_log.out")
    assert f"ranks {ranks}" in job.log
    assert differences(job, undisturbed("kip", ranks)) == []
    accuracy = read_own(output / "latest.h5").arrays["history/test_accuracy"][-1]
    row = result.stdout.splitlines()[-1]
    assert [word in row for word in (job_id, "COMPLETED", "60/60", f"{accuracy:.2%}")] == [True] * 4
    listed = workplace.call("jobs", prefix=(sys.executable, "-c", LOGIN_NODE))
    assert row.split() == listed.stdout.splitlines()[-1].split()
    assert "Traceback" not in job.log
    assert "\x1b" not in job.log


def test_dry_run_is_what_sbatch_gets(workplace):
    arguments = ("submit", workplace.config(kip={"steps": 1}), "--profile", workplace.profile(nodes=2),
                 "--output", workplace.folder / "out")  # fmt: skip
    shown = workplace.call(*arguments, "--dry-run")
    assert shown.code == 0
    assert not (workplace.folder / "out").exists()
    assert workplace.call(*arguments).code == 0
    (script,) = (workplace.folder / "out/slurm").glob("*_submission.sh")
    assert shown.stdout.rstrip() == script.read_text().rstrip()


def test_submitting_from_within_an_allocation(workplace):
    """As in `salloc`'s shell: what it was given counts for it alone."""
    mine = {"SLURM_JOB_ID": "777", "SLURM_NTASKS": "7", "SLURM_CPUS_PER_TASK": "2", "SLURM_DISTRIBUTION": "plane=4",
            "SLURM_MEM_PER_NODE": "1", "SBATCH_TIMELIMIT": "0:01", "PMIX_RANK": "0",
            "OMPI_COMM_WORLD_SIZE": "7"}  # fmt: skip
    output = workplace.folder / "out"
    result = workplace.call("submit", workplace.config(kip={"steps": 2}), "--profile", workplace.profile(),
                            "--output", output, "--wait", **mine)  # fmt: skip
    assert result.code == 0, result.stdout + result.stderr
    assert "ranks 2" in next((output / "slurm").glob("*_log.out")).read_text()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_sweep_larger_than_an_array_can_be(workplace, more):
    output, points = workplace.folder / "out", ",".join(map(str, range(1002)))
    result = workplace.call("submit", workplace.config(kip={"steps": 1}), "--profile", workplace.profile(),
                            "--output", output, "--sweep", f"seed={points}", *more)  # fmt: skip
    assert result.code == 2
    assert "a sweep of 1002 points: a job array of this cluster has at most 1001 (MaxArraySize)" in result.stderr
    assert not output.exists()


def test_a_sweep_is_shown_where_slurm_does_not_answer(workplace):
    arguments = ("submit", workplace.config(kip={"steps": 1}), "--profile", workplace.profile(),
                 "--output", workplace.folder / "out", "--sweep", "seed=0,1")  # fmt: skip
    nowhere = {"SLURM_CONF": str(workplace.folder / "nowhere.conf")}
    shown = workplace.call(*arguments, "--dry-run", **nowhere)
    assert (shown.code, "--array=0-1" in shown.stdout) == (0, True), shown.stderr
    assert "how many jobs an array may have is not known: scontrol: " in shown.stderr
    refused = workplace.call(*arguments, **nowhere)
    assert (refused.code, len(refused.error_lines)) == (2, 1), refused.stderr
    assert "scontrol: " in refused.error_lines[0]


def test_sweep_is_an_array(workplace):
    output = workplace.folder / "out"
    sweeps = ("--sweep", "seed=0,1", "--sweep", "kernel.architecture=FC1,conv relu flatten dense")
    result = workplace.call("submit", workplace.config(kip={"steps": 2}), "--profile", workplace.profile(),
                            "--output", output, *sweeps, "--wait")  # fmt: skip
    assert result.code == 0, result.stdout
    table = result.stdout.splitlines()[-5:]
    assert table[0].split()[:4] == ["id", "seed", "kernel.architecture", "state"]
    points = {"seed=0,architecture=FC1", "seed=0,architecture=conv-relu-flatten-dense",
              "seed=1,architecture=FC1", "seed=1,architecture=conv-relu-flatten-dense"}  # fmt: skip
    assert {path.parent.name for path in output.glob("*/latest.h5")} == points
    for row in table[1:]:
        folder = Path(row.split()[-1])
        stored = read_own(folder / "latest.h5")
        assert f"{stored.arrays['history/test_accuracy'][-1]:.2%}" in row
        seed, architecture = stored.arrays["random/seed"][0], stored.attributes["architecture"]
        assert re.match(rf"\d+_\d {seed} {architecture} COMPLETED 2/2 ", " ".join(row.split()))
    array = table[1].split()[0].partition("_")[0]
    assert len(workplace.call("jobs", array).stdout.splitlines()) == 5


def test_array_job_that_is_stopped_goes_on_alone(workplace):
    """Its number is that of the array, too: a requeue must not mean all."""
    config = workplace.config(**CONFIGS["kip"])
    output = workplace.folder / "out"
    result = workplace.call("submit", config, "--profile", workplace.profile(acting=SLOW), "--output", output,
                            "--sweep", "seed=0,1")  # fmt: skip
    array = re.search(r"^job (\d+)_0:", result.stdout, re.MULTILINE)[1]
    logs = output / "slurm"
    jobs = [
        SubmittedJob(workplace.cluster, f"{array}_{k}", output / f"seed={k}", logs / f"{array}_{k}_0_log.out")
        for k in range(2)
    ]
    for job in jobs:
        job.wait_for_step(10)
    workplace.cluster.run("scancel", "--signal=USR2", f"{array}_1")
    for job in jobs:
        assert job.wait_for_state("COMPLETED", "FAILED", "CANCELLED") == "COMPLETED", job.log
    found = {path.name: path.read_text().strip() for path in logs.glob("*.attempt-*")}
    assert found == {f"{array}_0.attempt-1": "0", f"{array}_1.attempt-1": "75", f"{array}_1.attempt-2": "0"}


def test_plain_batch_script(workplace, undisturbed):
    output, config = workplace.folder / "out", workplace.config(**CONFIGS["kip"])
    environment = workplace.environment | OPEN_MPI
    environment["PATH"] = f"{workplace.slow_command()}:{environment['PATH']}"
    command = ["sbatch", "--parsable", "--cpus-per-task=1", "--time=10", f"--output={workplace.folder}/%j.log",
               REPOSITORY / "slurm/run.sbatch", config, output, "kip.steps=60"]  # fmt: skip
    done = subprocess.run(command, env=environment, cwd=workplace.folder, text=True, capture_output=True, check=True)
    job_id = done.stdout.strip()
    job = SubmittedJob(workplace.cluster, job_id, output, workplace.folder / f"{job_id}.log")
    job.wait_for_step(10)
    job.signal("USR2")
    assert job.wait_for_state("COMPLETED", "FAILED") == "COMPLETED", job.log
    assert job.attempts == ["75", "0"]
    assert differences(job, undisturbed()) == []


def test_cancel(workplace):
    job = workplace.submit(workplace.config(**CONFIGS["kip"]), workplace.profile(acting=SLOW))
    job.wait_for_step(10)
    assert f"job {job.id}: cancelled" in workplace.call("cancel", job.id).stdout
    assert job.wait_for_state("CANCELLED", "COMPLETED") == "CANCELLED"
    assert job.attempts == ["75"]
    assert "stopped by SIGTERM; what was computed is saved" in job.log
    assert "is requeued" not in job.log
    assert f"job {job.id}: CANCELLED already" in workplace.call("cancel", job.id).stdout
    assert workplace.call("cancel", "999999").code == 2


def test_several_ranks_on_a_node_share_its_cores(workplace):
    """Two ranks on a node of this machine, and no word of cores per task: half of the cores each."""
    program = "from hpcdistill.launcher import ranks_on_node; print(ranks_on_node())"
    command = ["srun", "--nodes=2", "--ntasks=3", "--distribution=block", sys.executable, "-c", program]
    assert sorted(workplace.cluster.run(*command).stdout.split()) == ["1", "2", "2"]
