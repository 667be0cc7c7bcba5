#!/usr/bin/env bash
# Kill one of two ranks of a KIP run again and again, resume it each time, and compare the end with an undisturbed run.
#   jobs/kill_test.sh [KILLS]      (default: 50)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=jobs/environment.sh
. "$here/environment.sh"
exec python -u "$here/../tests/system/kill_loop.py" "$@"
