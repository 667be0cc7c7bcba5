#!/usr/bin/env bash
# Set up what is missing, then distil scikit-learn's digits on 2 MPI ranks and compare with natural images.
#
# usage: bash jobs/demo.sh [OUTPUT [KEY=VALUE …]]
#
# OUTPUT (default: runs/demo) is made anew. Settings are for all runs: `bash jobs/demo.sh runs/demo seed=1`.
# HPCDISTILL_RANKS sets the number of MPI ranks (default 2). Takes under a minute on 2 cores once set up.
set -euo pipefail
cd "$(dirname "$0")/.."
output=${1:-runs/demo}
everywhere=("${@:2}")
ranks=${HPCDISTILL_RANKS:-2}

bash jobs/setup.sh
. jobs/environment.sh
case "$output" in
  /|.|..|"$HOME") echo "demo: will not remove '$output'; give a folder of its own" >&2; exit 2 ;;
esac
rm -rf -- "$output"
started=$SECONDS

distil() {  # distil NAME KEY=VALUE …
  local name=$1 settings=() setting
  shift
  for setting in "$@" "${everywhere[@]}"; do settings+=(--set "$setting"); done
  printf '\n== %s (%d s)\n' "$name" "$((SECONDS - started))"
  mpiexec -n "$ranks" hpcdistill run jobs/demo/digits.toml --output "$output/$name" "${settings[@]}"
}

distil natural-10   method=krr
distil solved-10    method=label_solve
distil kip-10       method=kip
distil natural-100  method=krr          support.images_per_class=10
distil solved-100   method=label_solve  support.images_per_class=10
distil kip-100      method=kip          support.images_per_class=10  kip.steps=40
distil natural-all  method=krr          support.images_per_class=0

hpcdistill export "$output/kip-10/latest.h5" --format png --output "$output/kip-10.png"
hpcdistill export "$output/kip-100/latest.h5" --format png --output "$output/kip-100.png"
printf '\n== test accuracy, %d s on %s ranks\n' "$((SECONDS - started))" "$ranks"
hpcdistill inspect "$output"/{natural-10,solved-10,kip-10,natural-100,solved-100,kip-100,natural-all}/latest.h5
