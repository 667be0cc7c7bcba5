"""The scripts of jobs. What they do on a real Slurm is in tests/slurm; here, the decisions of their last lines."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from hpcdistill.cluster.profile import Environment, Launch, Profile, Resources
from hpcdistill.cluster.request import Request, Run
from hpcdistill.cluster.scheduler import find_scheduler
from hpcdistill.cluster.scripts import BEGIN, END
from hpcdistill.config import parse_config

REPOSITORY = Path(__file__).parents[3]


def script_of(request):
    return find_scheduler(request.profile.executor).script(request)


def request_of(folder, profile, runs=1):
    made = tuple(Run(parse_config(""), folder / f"out {k}", {}) for k in range(runs))
    return Request("hpcdistill-x", profile, made, folder / "out/slurm", resume=False)


def sbatch_options(text):
    return [line.removeprefix("#SBATCH --") for line in text.splitlines() if line.startswith("#SBATCH --")]


def test_resources_become_options(tmp_path):
    resources = Resources(partition="p", account="a", nodes=3, tasks_per_node=2, cpus_per_task=5, gpus_per_node=2,
                          memory="64G", time="1-0", sbatch={"constraint": "a100"})  # fmt: skip
    text = script_of(request_of(tmp_path, Profile(resources=resources)))
    wanted = {"partition=p", "account=a", "nodes=3", "ntasks-per-node=2", "cpus-per-task=5", "gpus-per-node=2",
              "mem=64G", "time=1440", "constraint=a100", "requeue", "signal=USR2@120", "open-mode=append"}  # fmt: skip
    assert wanted <= set(sbatch_options(text))
    assert "--cpus-per-task=5" in next(line for line in text.splitlines() if line.startswith("srun"))
    assert not any(option.startswith(("wckey", "qos", "array")) for option in sbatch_options(text))


def test_a_sweep_is_an_array(tmp_path):
    profile = Profile(resources=Resources(array_parallelism=4))
    assert "array=0-6%4" in sbatch_options(script_of(request_of(tmp_path, profile, runs=7)))


def test_environment_is_made_before_the_ranks_start(tmp_path):
    environment = Environment(
        modules=("m/1",), setup=("true first",), variables={"X": '$HOME/a "b"', "OMP_NUM_THREADS": "9"}
    )
    launch = Launch(mpi="pmi2", arguments=("--cpu-bind=cores",), container="apptainer exec i.sif", python="python3")
    lines = script_of(request_of(tmp_path, Profile(environment=environment, launch=launch))).splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("srun "))
    order = ["module load m/1 || exit 2", "true first", 'export OMP_NUM_THREADS="9"', 'export X="$HOME/a \\"b\\""']
    assert [lines.index(line) < start for line in order] == [True] * 4
    assert sorted(map(lines.index, order[:2])) == list(map(lines.index, order[:2]))
    assert "--mpi=pmi2" in lines[start]
    assert "--cpu-bind=cores apptainer exec i.sif python3 -u -m submitit.core._submit" in lines[start]


@pytest.mark.parametrize("executor", ["slurm", "local"])
def test_python_may_lie_in_a_folder_with_a_space_in_its_name(tmp_path, executor):
    profile = Profile(executor=executor, launch=Launch(python="$HOME/my env/bin/python"))
    assert ' "$HOME/my env/bin/python" -' in script_of(request_of(tmp_path, profile))


def test_script_for_this_machine(tmp_path):
    profile = Profile(
        executor="local", resources=Resources(tasks_per_node=3), launch=Launch(arguments=("--bind-to", "none"))
    )
    last = script_of(request_of(tmp_path, profile)).splitlines()[-1]
    assert last.startswith("exec mpirun -n 3 --bind-to none ")
    assert f"-m hpcdistill run '{tmp_path}/out 0/config.toml' --output '{tmp_path}/out 0' \"$@\"" in last


def test_plain_script_does_the_same():
    text = (REPOSITORY / "slurm/run.sbatch").read_text()
    assert BEGIN in text
    assert END in text
    subprocess.run(["bash", "-n", REPOSITORY / "slurm/run.sbatch"], check=True)


#: squeue that says what $STATE is, and scontrol that succeeds when it is called for the $SUCCEEDS-th time.
COMMANDS = {
    "squeue": 'echo "$STATE"',
    "scontrol": 'echo "scontrol $*" >> calls; [ "$(wc -l < calls)" -ge "${SUCCEEDS:-1}" ]',
    "sleep": "true",
}


@pytest.fixture
def conclude(tmp_path):
    """Run the last lines of a script after a command that ended with `code`; return its code, calls and status."""
    for name, text in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{text}\n")
        (tmp_path / name).chmod(0o755)

    def run(code, said="", *, state="RUNNING", earlier=(), succeeds=1, at="."):
        status = tmp_path / at / f"7.attempt-{len(earlier) + 1}"
        for k, text in enumerate(earlier):
            (tmp_path / f"7.attempt-{k + 1}").write_text(f"{text}\n")
        if said:
            status.write_text(f"{said}\n")
        script = f"job=7 folder={tmp_path} max_restarts=2\n(exit {code})\n{END}"
        environment = os.environ | {"HPCDISTILL_STATUS": str(status), "STATE": state, "SUCCEEDS": str(succeeds),
                                    "PATH": f"{tmp_path}:{os.environ['PATH']}"}  # fmt: skip
        done = subprocess.run(["bash", "-c", script], env=environment, cwd=tmp_path, capture_output=True, text=True,
                              check=False)  # fmt: skip
        calls = (tmp_path / "calls").read_text().splitlines() if (tmp_path / "calls").exists() else []
        return done.returncode, calls, status.read_text().strip() if status.exists() else "", done.stderr

    return run


REQUEUED = ["scontrol requeue 7"]


@pytest.mark.parametrize(
    ("code", "said", "ends", "calls", "status"),
    [
        (0, "0", 0, [], "0"),
        (2, "2", 2, [], "2"),
        (143, "2", 2, [], "2"),  # Slurm killed the others after one had failed
        (1, "1", 1, [], "1"),
        (75, "75", 75, REQUEUED, "75"),
        (143, "75", 75, REQUEUED, "75"),
        (137, "running", 137, REQUEUED, "killed"),
        (1, "running", 1, REQUEUED, "killed"),
        (0, "running", 1, REQUEUED, "killed"),  # srun may return 0 when a node is lost
        (140, "", 140, REQUEUED, "killed"),  # a signal while Python was starting
        (1, "", 1, [], "1"),
        (0, "", 1, REQUEUED, "killed"),  # srun may return 0 when Slurm could not start the ranks
    ],
)
def test_what_becomes_of_an_attempt(conclude, code, said, ends, calls, status):
    assert conclude(code, said)[:3] == (ends, calls, status)


def test_a_run_that_could_leave_no_word_has_succeeded_if_srun_says_so(conclude):
    assert conclude(0, at="nowhere")[:3] == (0, [], "")


@pytest.mark.parametrize("said", ["75", "running"])
@pytest.mark.parametrize("state", ["COMPLETING", "PENDING", "CANCELLED"])
def test_no_requeue_where_slurm_has_decided(conclude, said, state):
    assert conclude(137, said, state=state)[1] == []


def test_restarts_are_counted(conclude):
    assert conclude(137, "running", earlier=["killed", "75"])[1] == REQUEUED
    code, calls, status, told = conclude(137, "running", earlier=["killed", "75", "killed"])
    assert (code, calls, status) == (137, REQUEUED, "killed")  # the call is the first one's
    assert "as in 2 restarts before: giving up" in told


def test_a_requeue_that_fails_is_tried_again(conclude):
    assert conclude(75, "75", succeeds=3)[1] == REQUEUED * 3
    code, _, _, told = conclude(75, "75", succeeds=99)
    assert code == 75
    assert "could not be requeued; continue it with --resume" in told


def test_ranks_that_never_started_are_named(conclude):
    assert "before MPI had started" in conclude(1)[3]
    assert "before MPI had started" not in conclude(1, "1")[3]


def test_percent_signs_in_paths_are_refused(tmp_path):
    request = request_of(tmp_path, Profile())
    with pytest.raises(Exception, match="Slurm gives % in paths a meaning"):
        replace(request, folder=tmp_path / "100%").check()
