"""Shell scripts of jobs: what a profile says, `srun` or `mpirun`, and what becomes of an attempt that ends.

`slurm/run.sbatch` has the same lines around srun, for those who submit by hand.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from hpcdistill.cluster.profile import Profile
from hpcdistill.cluster.request import Request, Run

#: Before srun. The trap lets the script live on while Slurm ends the ranks: what is below still has to be decided.
BEGIN = """\
job=${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}
export HPCDISTILL_ATTEMPT=$((1 + ${SLURM_RESTART_COUNT:-0}))
export HPCDISTILL_STATUS=$folder/$job.attempt-$HPCDISTILL_ATTEMPT
rm -f "$HPCDISTILL_STATUS"
trap : TERM\
"""

#: After srun, whose exit code is in $?. A run that ends by itself says how in the status file (hpcdistill/attempt.py).
END = """\
code=$?
said=$(cat "$HPCDISTILL_STATUS" 2>/dev/null) status=$said
say() { echo "hpcdistill: $*" >&2; }
requeue() {  # unless Slurm has decided already, as after scancel; TERM comes when it does, also to scontrol
  for pause in 2 10 30; do
    case $(squeue -h -j "$job" -o %T) in
      RUNNING) if (trap '' TERM; scontrol requeue "$job"); then say "$1"; return; fi ;;
      ?*) return ;;
    esac
    sleep "$pause"
  done
  say "job $job could not be requeued; continue it with --resume"
}
case $status in
  [0-9]*) code=$status ;;
  running) status=killed ;;  # whatever srun says: it may return 0 when a node is lost
  *) status=$code  # 0 is what srun may return, too, when Slurm could not start the ranks: they would have left a file
    { [ "$code" -gt 128 ] || { [ "$code" = 0 ] && echo > "$HPCDISTILL_STATUS"; }; } && status=killed ;;
esac
echo "$status" > "$HPCDISTILL_STATUS"
if [ -z "$said" ] && [ "$status" != 0 ]; then
  say "the ranks ended with code $code before MPI had started: see above." \\
    "Wrong modules, environment, launch.python or launch.mpi? ('srun --mpi=list' shows what this Slurm has.)"
fi
if [ "$status" = 75 ]; then
  requeue "stopped and saved; job $job is requeued and goes on from there"
elif [ "$status" = killed ]; then
  killed=$(cat "$folder/$job".attempt-* | grep -c killed)
  if [ "$killed" -le "$max_restarts" ]; then
    requeue "ranks were killed (srun ended with code $code); job $job is requeued, restart $killed of $max_restarts"
  else
    say "ranks were killed (srun ended with code $code), as in $max_restarts restarts before: giving up"
  fi
fi
[ "$status" = killed ] && [ "$code" -eq 0 ] && code=1
exit "$code"\
"""


def slurm_script(request: Request) -> str:
    """Return the batch script that `submit` would hand to sbatch."""
    from submitit.slurm.slurm import _make_sbatch_string

    folder, count = request.folder.absolute(), len(request.runs)
    command = f"{python_command(request.profile)} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    parameters = slurm_parameters(request) | {"map_count": count if count > 1 else None}
    return _make_sbatch_string(command=command, folder=folder, **parameters)


def slurm_parameters(request: Request) -> dict[str, Any]:
    """Return the parameters of submitit's SlurmExecutor."""
    profile, resources = request.profile, request.profile.resources
    folder = request.folder.absolute()
    log = f"{folder}/{'%A_%a' if len(request.runs) > 1 else '%j'}_0_log.out"
    memory = {"mem": resources.memory} if resources.memory else {}
    optional = {"partition": resources.partition, "account": resources.account, "qos": resources.qos}
    return {name: value for name, value in optional.items() if value} | {
        "job_name": request.name,
        "time": profile.time_minutes,
        "nodes": resources.nodes,
        "ntasks_per_node": resources.tasks_per_node,
        "cpus_per_task": resources.cpus_per_task,
        "gpus_per_node": resources.gpus_per_node or None,
        "array_parallelism": resources.array_parallelism,
        "signal_delay_s": profile.restart.signal_delay_seconds,
        "setup": _lines_before(profile, folder),
        "teardown": _lines_after(),
        # The last --output counts: one log for all ranks. --kill-on-bad-exit also ends ranks that wait in MPI_Init for
        # one that could not start. From Slurm 22.05 on srun does not take --cpus-per-task from the job.
        "srun_args": [f"--mpi={profile.launch.mpi}", f"--output={log}", "--kill-on-bad-exit=1",
                      f"--cpus-per-task={resources.cpus_per_task}", *profile.launch.arguments],
        "stderr_to_stdout": True,
        "wckey": None,
        "additional_parameters": {"requeue": True, **memory, **resources.sbatch},
    }  # fmt: skip


def python_command(profile: Profile) -> str:
    """Return how Python is started on the nodes."""
    return f"{profile.launch.container} {_python(profile)}".strip()


def local_script(request: Request, run: Run) -> str:
    """Return the shell lines that run one run on this machine; `"$@"` in them stands for more options."""
    profile = request.profile
    command = ["mpirun", "-n", str(profile.ranks), *profile.launch.arguments, *shlex.split(profile.launch.container)]
    words = ["-m", "hpcdistill", *run.arguments(resume=request.resume)]
    line = f'exec {shlex.join(command)} {_python(profile)} {shlex.join(words)} "$@"'
    return "\n".join([*_environment_lines(profile), line])


def _python(profile: Profile) -> str:
    """Return Python as a word of the shell."""
    python = profile.launch.python
    if not python:
        return shlex.quote(sys.executable)
    return python if re.fullmatch(r"[\w@%+=:,./-]+", python) else _in_double_quotes(python)


def _lines_before(profile: Profile, folder: Path) -> list[str]:
    """Return the lines before srun. `folder` keeps logs and the attempts' status files."""
    return [
        *_environment_lines(profile),
        f"export HPCDISTILL_SIGNAL_DELAY={profile.restart.signal_delay_seconds}",
        f"folder={shlex.quote(str(folder))} max_restarts={profile.restart.max_restarts}",
        *BEGIN.splitlines(),
    ]


def _lines_after() -> list[str]:
    """Return the lines after srun."""
    return END.splitlines()


def _environment_lines(profile: Profile) -> list[str]:
    """Return the lines that make the environment of a profile."""
    environment, lines = profile.environment, []
    if environment.modules:
        lines += [
            "type module >/dev/null 2>&1 || for f in /etc/profile.d/modules.sh /etc/profile.d/lmod.sh; do "
            '[ -r "$f" ] && . "$f"; done',
            *(f"module load {shlex.quote(module)} || exit 2" for module in environment.modules),
        ]
    lines += environment.setup
    variables = {"OMP_NUM_THREADS": str(profile.resources.cpus_per_task), **environment.variables}
    return lines + [f"export {name}={_in_double_quotes(value)}" for name, value in variables.items()]


def _in_double_quotes(text: str) -> str:
    """Quote a text for the shell, which still puts in the values of variables: `$SCRATCH/data`."""
    return '"' + re.sub(r'([\\"`])', r"\\\1", text) + '"'
