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
failed=()
declare -A beside titles
scratch=$(mktemp -d)  # each part's own folder in it: what one pytest tidies in a shared one, another may look for
trap end EXIT

end() {  # let what still runs beside the rest clean up, as after Ctrl-C
  local job
  for job in $(jobs -p); do pkill -INT -P "$job" || true; done
  wait
  [ "${#failed[@]}" -gt 0 ] || rm -rf "$scratch"
}

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

aside() {  # aside NAME TITLE COMMAND …: begin it beside the rest
  local name=$1
  titles[$name]=$2
  shift 2
  "$@" > "$scratch/$name.log" 2>&1 &
  beside[$name]=$!
  say "${titles[$name]}: begun beside the rest, $scratch/$name.log"
}

tests() {  # tests PROCESSES FOLDER [OPTION …]: each process takes the next test, in order, when it is done with one
  python -m pytest -q -n "$1" --dist loadgroup --no-loadscope-reorder --basetemp "$scratch/$(basename "$2")" \
    "${selection[@]}" "${@:2}"
}

site() {  # strict: a link, an anchor or a page that leads nowhere is an error
  NO_MKDOCS_2_WARNING=1 mkdocs build --quiet --site-dir "$scratch/site" && python docs/site/check.py "$scratch/site"
}

lint() {
  ruff check . && ruff format --check . && mypy && codespell && site &&
    clang-format --dry-run --Werror hpcdistill/native/*.cpp hpcdistill/native/engine/*.[ch]pp \
      hpcdistill/native/cuda/*.cu* tests/native/*.cpp tests/host_cuda/*.hpp
}

on_ranks() {  # on_ranks COUNT: what hangs shows where, on each rank, and ends; -k because mpiexec may not heed a signal
  timeout -k 10 900 mpiexec -n "$1" python -m pytest -q --color=no -o faulthandler_timeout=300 \
    --basetemp "$scratch/mpi-$1" "${selection[@]}" tests/mpi
}

# What mostly waits, or uses one core, runs beside the rest and is shown at the end.
if wants slurm; then
  aside slurm "on a Slurm of its own" tests "$((cores + 1))" tests/slurm
fi
if wants sanitize; then
  aside sanitize "kernel engine under sanitizers" bash tests/sanitize.sh
fi
if wants lint; then
  say "ruff, mypy, codespell, the site, clang-format"
  check lint lint
fi
if wants unit; then
  say "one process"
  check unit tests "$cores" tests/unit --dist worksteal  # they are many and short: a share for each
fi
for ranks in 1 2 3 4; do
  if wants mpi "mpi-$ranks"; then
    say "$ranks MPI ranks"
    check "mpi-$ranks" on_ranks "$ranks"
  fi
done
if wants system; then
  say "end to end"
  check system tests "$((cores + 2))" tests/system
fi
for name in "${!beside[@]}"; do
  wait "${beside[$name]}" || failed+=("$name")
  say "${titles[$name]}"
  cat "$scratch/$name.log"
done
if [ -n "${COVERAGE_PROCESS_START:-}" ]; then
  unset COVERAGE_PROCESS_START
  say "lines and branches that were not reached"
  coverage combine --quiet
  coverage report
fi
if [ "${#failed[@]}" -gt 0 ]; then
  say "FAILED: ${failed[*]}; the files of failed tests are in $scratch"
  exit 1
fi
say "all checks passed"
