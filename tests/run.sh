#!/usr/bin/env bash
# Set up what is missing and run all checks: lint, types, the site, tests on one process, the kernel engine under
# sanitizers, tests on 1 to 4 MPI ranks, end to end, and on a Slurm of its own (where it is installed and may be started,
# else they skip).
#
# usage: bash tests/run.sh [quick | coverage | PART …]
#
#   quick      lint, types and site, then the tests of one process and of 2 MPI ranks, but for the slow ones: while working
#   coverage   all of it, and which lines and branches of the package it has reached
#   PART       lint, unit, sanitize, mpi, system, slurm; none means all
#
# All parts run, whatever fails; what failed is said again at the end. What is compiled for the tests is kept in
# ~/.cache/hpcdistill/tests.
set -euo pipefail
cd "$(dirname "$0")/.."

parts=("${@:-all}")
for part in "${parts[@]}"; do
  case "$part" in
    all|lint|unit|sanitize|mpi|system|slurm) ;;
    quick|coverage) [ $# = 1 ] && continue ;;&
    *) sed -n '2,13p' "$0" | sed 's/^# \{0,1\}//'; [ "$part" = --help ] && exit 0 || exit 2 ;;
  esac
done
bash jobs/setup.sh --tests
. jobs/environment.sh
# Ranks and processes share the cores here: one thread each, and none keeps a core while it waits.
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1
# Hundreds of commands are started: none looks for a fast network, or compiles what is compiled.
export OMPI_MCA_pml=ob1
unset PYTHONDONTWRITEBYTECODE

selection=()
case "${parts[*]}" in
  quick) parts=(lint unit mpi-2) selection=(-m "not slow") ;;
  coverage)
    parts=(all)
    rm -rf build/coverage
    mkdir -p build/coverage
    export COVERAGE_PROCESS_START=$PWD/pyproject.toml ;;  # whatever Python starts measures itself
esac
cores=$(env -u OMP_NUM_THREADS nproc)  # which would print that number
started=$SECONDS
scratch=$(mktemp -d)  # each part's own folder in it: what one pytest tidies in a shared one, another may look for
trap end EXIT
idle=$scratch/idle.so
g++ -O2 -shared -fPIC tests/native/idle.cpp -o "$idle"

end() {  # let what still runs beside the rest clean up, as after Ctrl-C
  local job
  touch "$scratch/ended"
  for job in $(jobs -p); do pkill -INT -P "$job" || true; done
  wait
  [ -s "$scratch/failed" ] || rm -rf "$scratch"
}

wants() {
  local part
  for part in "$@"; do [[ " ${parts[*]} " == *" $part "* || " ${parts[*]} " == *" all "* ]] && return; done
  return 1
}

say() { printf '\n== %s (%d s)\n' "$*" "$((SECONDS - started))"; }

check() {  # check NAME TITLE COMMAND …: run it if it is wanted, and note whether it fails
  local name=$1 title=$2
  if ! wants "$name" "${name%-*}" || [ -e "$scratch/ended" ]; then return; fi
  shift 2
  say "$title"
  "$@" || echo "$name" >> "$scratch/failed"
}

tests() {  # tests PROCESSES FOLDER [OPTION …]: each process takes the next test, in order, when it is done with one
  LD_PRELOAD=$idle python -m pytest -q -n "$1" --dist loadgroup --no-loadscope-reorder \
    --basetemp "$scratch/$(basename "$2")" "${selection[@]}" "${@:2}"
}

site() {  # a link, an anchor or a page that leads nowhere is an error; with --quiet it would be none
  NO_MKDOCS_2_WARNING=1 mkdocs build --site-dir "$scratch/site" 2>&1 | { grep -v ^INFO || true; } &&
    python docs/site/check.py "$scratch/site"
}

lint() {
  ruff check . && ruff format --check . && mypy && codespell && site &&
    clang-format --dry-run --Werror hpcdistill/native/*.cpp hpcdistill/native/engine/*.[ch]pp \
      hpcdistill/native/cuda/*.cu* tests/native/*.cpp tests/host_cuda/*.hpp
}

on_ranks() {  # on_ranks COUNT: what hangs shows where, on each rank, and ends; -k because mpiexec may not heed a signal
  LD_PRELOAD=$idle timeout -k 10 900 mpiexec -n "$1" python -m pytest -q --color=no -o faulthandler_timeout=300 \
    --basetemp "$scratch/mpi-$1" "${selection[@]}" tests/mpi
}

# Two halves beside each other, since much of both waits.
other_half() {
  local ranks
  check slurm "on a Slurm of its own" tests "$((cores + 1))" tests/slurm
  for ranks in 1 2 3 4; do
    check "mpi-$ranks" "$ranks MPI ranks" on_ranks "$ranks"
  done
}
touch "$scratch/beside.log"
if wants slurm mpi mpi-2; then
  say "Slurm, MPI ranks: beside the rest, $scratch/beside.log"
  set -m  # a group of its own: else bash has it ignore what ends it after Ctrl-C
  other_half > "$scratch/beside.log" 2>&1 &
  set +m
fi
check lint "ruff, mypy, codespell, the site, clang-format" lint
check unit "one process" tests "$cores" tests/unit --dist worksteal  # they are many and short: a share for each
check sanitize "kernel engine under sanitizers" bash tests/sanitize.sh
check system "end to end" tests "$((cores + 2))" tests/system
wait
cat "$scratch/beside.log"
if [ -n "${COVERAGE_PROCESS_START:-}" ]; then
  unset COVERAGE_PROCESS_START
  say "lines and branches that were not reached"
  coverage combine --quiet
  coverage report
fi
if [ -s "$scratch/failed" ]; then
  say "FAILED: $(paste -sd ' ' "$scratch/failed"); the files of failed tests are in $scratch"
  exit 1
fi
say "all checks passed"
