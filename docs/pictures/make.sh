#!/usr/bin/env bash
# Make the pictures of what a user gets, with the product itself, on digits. Run by hand; what it writes here is kept.
# The picture of the report needs chromium; without it that one stays as it is. Takes half a minute.
set -euo pipefail
pictures=$(cd "$(dirname "$0")" && pwd)
cd "$pictures/../.."
. jobs/environment.sh
export OMP_NUM_THREADS=1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp jobs/results/digits_kip_10.png "$pictures/digits_kip_10.png"
python docs/pictures/tutorial.py docs/tutorials/own-images.md "$work"
(
  cd "$work"
  hpcdistill prepare ./pictures --picture "$pictures/look.png"
  python "$pictures/terminal.py" "$pictures/terminal.svg" mpirun -n 2 hpcdistill run mine.toml --output runs/mine
  mpirun -n 2 hpcdistill evaluate runs/mine/latest.h5 --natural 1,10
  hpcdistill export runs/mine/latest.h5 --format png --output "$pictures/own_images.png"
  hpcdistill export runs/mine/latest.h5 --format html --output report.html
)
python docs/pictures/labels.py "$work/runs/mine/latest.h5" "$pictures/labels.svg"
if command -v chromium >/dev/null; then
  chromium --headless --no-sandbox --hide-scrollbars --window-size=1000,1250 --screenshot="$pictures/report.png" \
    "file://$work/report.html" 2>/dev/null
fi
