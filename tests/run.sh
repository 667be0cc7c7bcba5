#!/usr/bin/env bash
# Set up what is missing and run all checks: lint, types, tests on one process, the kernel engine under sanitizers, tests
# on 1 to 4 MPI ranks, end to end, and on a Slurm of its own (where it is installed and may be started, else they skip).
#
# usage: bash tests/run.sh [quick | PART …]
#
#   quick    lint and types, then the tests of one process and of 2 MPI ranks, but for the slow ones: for use while working
#   PART     lint, unit, sanitize, mpi, system, slurm; none means all
#
# On 2 cores all of it takes about 9 minutes, quick a minute and a half; 3 minutes more where nothing is compiled yet
# (~/.cache/hpcdistill/tests keeps what is). All parts run, whatever fails; what failed is said again at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
bash jobs/setup.sh --tests
. jobs/environment.sh
# Ranks and processes share the cores here: one thread each, and none keeps a core while it waits.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1

parts=("${@:-all}")
selection=()
if [ "${parts[*]}" = quick ]; then
  parts=(lint unit mpi-2)
  selection=(-m "not slow")
fi
cores=$(nproc)
started=$SECONDS
failed=()
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

wants() {
  local part
  for part in "$@"; do [[ " ${parts[*]} " == *" $part "* || " ${parts[*]} " == *" all "* ]] && return; done
  return 1
}

say() { printf '\n== %s (%d s)\n' "$*" "$((SECONDS - started))"; }

check() {  # check NAME COMMAND …: run it, and note whether it fails
  local name=$1
  shift
  "$@" || failed+=("$name")
}

tests() {  # tests PROCESSES FOLDER …: each process takes the next test, in order, when it is done with one
  local processes=$1
  shift
  python -m pytest -q -n "$processes" --dist loadgroup --no-loadscope-reorder "${selection[@]}" "$@"
}

lint() {
  ruff check . && ruff format --check . && mypy &&
    clang-format --dry-run --Werror hpcdistill/native/*.cpp hpcdistill/native/engine/*.[ch]pp \
      hpcdistill/native/cuda/*.cu* tests/native/*.cpp tests/host_cuda/*.hpp
}

on_ranks() {  # on_ranks COUNT: what hangs shows where, on each rank, and ends; -k because mpiexec may not heed a signal
  timeout -k 10 900 mpiexec -n "$1" python -m pytest -q --color=no -o faulthandler_timeout=300 "${selection[@]}" tests/mpi
}

# Slurm's tests mostly wait, so they run beside the others.
if wants slurm; then
  slurm_log=$(mktemp)
  tests "$((cores + 1))" tests/slurm > "$slurm_log" 2>&1 &
  slurm=$!
  say "on a Slurm of its own: begun beside the rest"
fi
if wants lint; then
  say "ruff, mypy, clang-format"
  check lint lint
fi
if wants unit; then
  say "one process"
  check unit tests "$cores" tests/unit
fi
if wants sanitize; then
  say "kernel engine under sanitizers"
  check sanitize bash tests/sanitize.sh
fi
for ranks in 1 2 3 4; do
  if wants mpi "mpi-$ranks"; then
    say "$ranks MPI ranks"
    check "mpi-$ranks" on_ranks "$ranks"
  fi
done
if wants system; then
  say "end to end"
  check system tests "$((cores + 1))" tests/system
fi
if wants slurm; then
  say "on a Slurm of its own"
  check slurm wait "$slurm"
  cat "$slurm_log"
  rm "$slurm_log"
fi
if [ "${#failed[@]}" -gt 0 ]; then
  say "FAILED: ${failed[*]}"
  exit 1
fi
say "all checks passed"
