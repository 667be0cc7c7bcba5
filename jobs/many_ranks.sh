#!/usr/bin/env bash
# Many ranks on one machine: a KIP step and a Label Solve on digits, each with the result of one rank.
#   jobs/many_ranks.sh [RANKS]      (default: 64)
# Label Solve's labels must be the same bit for bit, KIP's images and labels to 1e-10 of the largest. Minutes on two cores,
# most of them for the start of so many processes; each takes about 150 MB.
set -euo pipefail
ranks=${1:-64}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=jobs/environment.sh
. "$here/environment.sh"
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 OMPI_MCA_mpi_yield_when_idle=1
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

run() {  # run METHOD RANKS [OPTION …]
  local started=$SECONDS
  mpirun --oversubscribe -n "$2" hpcdistill run "$here/demo/digits.toml" --output "$folder/$1-$2" \
    --set method="$1" --set kernel.architecture=FC1 --set kernel.precision=float64 \
    --set kip.steps=1 --set kip.batch=1000 --set label_solve.chunk=500 "${@:3}" > "$folder/$1-$2.log" 2>&1 ||
    { tail -n 20 "$folder/$1-$2.log"; exit 1; }
  printf '%-12s %3d ranks  %4d s\n' "$1" "$2" "$((SECONDS - started))"
}

date -u +%F
printf '%s, %d cores\n' "$(lscpu | sed -n 's/^Model name: *//p')" "$(env -u OMP_NUM_THREADS nproc)"
# From noise: where a target is an image of the support, rounding of their angle is 1e-8, not 1e-16.
for n in 1 "$ranks"; do run kip "$n" --set support.init=noise; done
for n in 1 "$ranks"; do run label_solve "$n"; done
python - "$folder" "$ranks" <<'EOF'
import sys
from pathlib import Path

import numpy as np

from hpcdistill.io.checkpoint import read_checkpoint

folder, ranks, wrong = Path(sys.argv[1]), sys.argv[2], 0
for method, allowed in (("kip", 1e-10), ("label_solve", 0.0)):
    one, many = (read_checkpoint(folder / f"{method}-{n}/latest.h5") for n in ("1", ranks))
    for name in ("support/images", "support/labels", "history/loss", "label_solve/square"):
        if name in one.arrays:
            a, b = one.array(name), many.array(name)
            apart = float(np.nanmax(np.abs(a - b)) / np.nanmax(np.abs(a)))
            wrong += apart > allowed
            print(f"{method:<12} /{name:<20} {'the same bits' if apart == 0 else f'{apart:.1e} of the largest'}")
    print(f"{method:<12} exchanged by rank 0: {many.attribute('exchanged')}")
print("as promised" if not wrong else f"{wrong} arrays are further apart than promised")
sys.exit(wrong > 0)
EOF
