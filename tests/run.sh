#!/usr/bin/env bash
# Set up what is missing and run all checks: lint, types, tests on one process, the kernel engine under sanitizers, tests
# on 1 to 4 MPI ranks, end to end, and on a Slurm of its own (where it is installed and may be started, else they skip).
#
# usage: bash tests/run.sh [lint|unit|sanitize|mpi|system|slurm …]  (default: all of them; about 25 minutes on 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."
bash jobs/setup.sh --tests
. jobs/environment.sh
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
parts=("${@:-all}")
started=$SECONDS

wants() { [[ " ${parts[*]} " == *" $1 "* || " ${parts[*]} " == *" all "* ]]; }
say() { printf '\n== %s (%d s)\n' "$*" "$((SECONDS - started))"; }

if wants lint; then
  say "ruff, clang-format, mypy"
  ruff check .
  ruff format --check .
  clang-format --dry-run --Werror hpcdistill/native/*.cpp hpcdistill/native/engine/*.[ch]pp hpcdistill/native/cuda/*.cu* \
    tests/native/*.cpp tests/host_cuda/*.hpp
  mypy
fi
if wants unit; then
  say "one process"
  python -m pytest -q tests/unit
fi
if wants sanitize; then
  say "kernel engine under sanitizers"
  bash tests/sanitize.sh
fi
if wants mpi; then
  for ranks in 1 2 3 4; do
    say "$ranks MPI ranks"
    # The limit ends a job whose ranks wait for each other; -k because mpiexec may not heed the first signal.
    timeout -k 10 600 mpiexec -n "$ranks" python -m pytest -q --color=no tests/mpi
  done
fi
if wants system; then
  say "end to end"
  python -m pytest -q tests/system
fi
if wants slurm; then
  say "on a Slurm of its own"
  python -m pytest -q tests/slurm
fi
say "all checks passed"
