#!/usr/bin/env bash
# Make this checkout ready to run: system libraries, .venv, parallel h5py, the compiled extension. Idempotent.
#
# usage: bash jobs/setup.sh [--tests]        (--tests adds what tests/run.sh needs: pytest, ruff, mypy, mkdocs, …)
#
# It looks first for what is there (modules, prefixes) and installs Debian/Ubuntu packages only for what is missing and
# only as root or with password-less sudo; otherwise it says what to install and stops. With --tests it installs, as root
# on Debian, Slurm and MariaDB, too: tests start daemons of their own from them, and skip where they are missing.
#
# Variables that override what it finds:
#   HPCDISTILL_PYTHON      a Python ≥ 3.11 with venv and headers       (default: python3.13 … python3.11, python3)
#   MPICC                  the MPI C compiler wrapper                  (default: mpicc on PATH)
#   HDF5_DIR               prefix of an HDF5 built with MPI            (default: from h5pcc, else Debian's)
#   HPCDISTILL_SCALAPACK   the ScaLAPACK library file                  (default: found by the linker or SCALAPACK_ROOT)
#   HPCDISTILL_WHEELS      where the parallel h5py wheel is kept       (default: ~/.cache/hpcdistill/wheels)
#   HPCDISTILL_NO_APT=1    never install system packages
set -euo pipefail
cd "$(dirname "$0")/.."

want_tests=no
for argument in "$@"; do
  case "$argument" in
    --tests) want_tests=yes ;;
    *) sed -n '2,16p' "$0" | sed 's/^# \{0,1\}//'; [ "$argument" = --help ] && exit 0 || exit 2 ;;
  esac
done

started=$SECONDS
say() { printf '[setup %3ds] %s\n' "$((SECONDS - started))" "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }

find_python() {
  local candidate
  for candidate in ${HPCDISTILL_PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if "$candidate" -c 'import sys, venv, ensurepip, sysconfig, os
sys.exit(not (sys.version_info >= (3, 11) and os.path.exists(sysconfig.get_path("include") + "/Python.h")))' 2>/dev/null
    then echo "$candidate"; return; fi
  done
}

find_hdf5() {  # prefix of a parallel HDF5, or nothing
  local candidate
  if [ -n "${HDF5_DIR:-}" ]; then echo "$HDF5_DIR"; return; fi
  if command -v h5pcc >/dev/null && candidate=$(h5pcc -showconfig 2>/dev/null | sed -n 's/^ *Installation point: *//p') \
     && [ -e "$candidate/include/hdf5.h" ]; then echo "$candidate"; return; fi
  for candidate in /usr/lib/*/hdf5/openmpi /usr/lib/*/hdf5/mpich; do
    [ -e "$candidate/include/hdf5.h" ] && { echo "$candidate"; return; }
  done
  return 0
}

links_scalapack() {
  [ -n "${HPCDISTILL_SCALAPACK:-}" ] && return 0
  local name directory
  for directory in "${SCALAPACK_ROOT:-}" "${SCALAPACK_DIR:-}"; do
    [ -n "$directory" ] && compgen -G "$directory/lib*/libscalapack*" >/dev/null && return 0
  done
  for name in scalapack-openmpi scalapack-mpich scalapack; do
    "${MPICC:-mpicc}" -shared -o /dev/null -x c /dev/null "-l$name" 2>/dev/null && return 0
  done
  return 1
}

missing_packages() {  # Debian names of what is not there
  command -v "${CXX:-g++}" >/dev/null || echo g++
  [ -n "$(find_python)" ] || echo python3 python3-venv python3-dev
  command -v "${MPICC:-mpicc}" >/dev/null && command -v mpiexec >/dev/null || echo openmpi-bin libopenmpi-dev
  [ -n "$(find_hdf5)" ] || echo libhdf5-openmpi-dev
  command -v h5dump >/dev/null || echo hdf5-tools
  # OpenBLAS is named because the reference BLAS, which would come otherwise, factors matrices ten times slower.
  links_scalapack || echo libscalapack-openmpi-dev libopenblas0-pthread libopenblas-pthread-dev
}

missing_test_packages() {  # what only tests want: they skip without, so it is no reason to stop
  [ "$want_tests" = yes ] && [ -e /etc/debian_version ] && [ "$(id -u)" = 0 ] && [ -z "${HPCDISTILL_NO_APT:-}" ] || return 0
  local path=$PATH:/usr/sbin
  PATH=$path command -v slurmctld >/dev/null || echo slurmctld
  PATH=$path command -v slurmd >/dev/null || echo slurmd
  PATH=$path command -v slurmdbd >/dev/null || echo slurmdbd
  PATH=$path command -v munged >/dev/null || echo munge
  command -v srun >/dev/null || echo slurm-client
  PATH=$path command -v mariadbd >/dev/null || echo mariadb-server
}

packages=$( (missing_packages; missing_test_packages) | tr '\n' ' ')
if [ -n "${packages// /}" ]; then
  command -v apt-get >/dev/null || fail "missing, by their Debian names: $packages— load the modules that provide them, or set the variables listed by 'bash jobs/setup.sh --help'"
  if [ "$(id -u)" = 0 ]; then sudo=""; elif sudo -n true 2>/dev/null; then sudo="sudo"; else sudo=none; fi
  if [ "$sudo" = none ] || [ -n "${HPCDISTILL_NO_APT:-}" ]; then
    fail "please run, as root: apt-get install -y --no-install-recommends $packages(or load modules that provide them, or set the variables listed by 'bash jobs/setup.sh --help')"
  fi
  say "installing system packages: $packages"
  export DEBIAN_FRONTEND=noninteractive
  $sudo apt-get update -qq
  # shellcheck disable=SC2086
  $sudo apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

python=$(find_python)
[ -n "$python" ] || fail "no Python 3.11 or newer with venv and headers; set HPCDISTILL_PYTHON"
MPICC=$(command -v "${MPICC:-mpicc}") || fail "no mpicc; set MPICC"
HDF5_DIR=$(find_hdf5)
[ -n "$HDF5_DIR" ] || fail "no parallel HDF5; set HDF5_DIR to the prefix of one built with MPI"
export MPICC HDF5_DIR

# Everything that decides what gets installed, in one line: a second run with the same line has nothing to do.
fingerprint=$({ "$python" -VV; echo "$MPICC $HDF5_DIR ${HPCDISTILL_SCALAPACK:-} $PWD"
                cat jobs/setup.sh pyproject.toml CMakeLists.txt hpcdistill/native/*.cpp hpcdistill/native/engine/*; } | sha256sum | cut -c1-16)
stamp=.venv/setup-stamp
done_before() { grep -qx "$fingerprint tests=$1" "$stamp" 2>/dev/null; }
if done_before yes || { [ "$want_tests" = no ] && done_before no; }; then exit 0; fi

[ -x .venv/bin/python ] || { say "creating .venv with $("$python" -V)"; "$python" -m venv .venv; }
dirname "$MPICC" > .venv/mpi-path
. jobs/environment.sh
pip() { python -m pip --disable-pip-version-check --quiet "$@"; }

say "installing Python packages (a few minutes the first time)"
pip install --upgrade "pip>=25.1" "setuptools>=77" wheel "Cython>=3" pkgconfig numpy "mpi4py>=4" "scikit-build-core>=0.10" "nanobind>=2.4" ninja cmake
if ! mpiexec -n 1 python -c "from mpi4py import MPI" 2>/dev/null; then
  say "the mpi4py wheel does not fit this MPI: building it with $MPICC"
  pip install --force-reinstall --no-deps --no-binary=mpi4py "mpi4py>=4"
fi

h5py_version="3.16.0"
if ! python -c "import h5py, sys; sys.exit(not (h5py.get_config().mpi and h5py.__version__ == '$h5py_version'))" 2>/dev/null; then
  hdf5_key=$({ "$python" -VV; echo "$HDF5_DIR"; cat "$HDF5_DIR"/include/H5public.h "$HDF5_DIR"/lib/libhdf5.settings 2>/dev/null
               "$MPICC" --version; mpiexec --version; } 2>/dev/null | sha256sum | cut -c1-12)
  wheels="${HPCDISTILL_WHEELS:-$HOME/.cache/hpcdistill/wheels}/$hdf5_key"
  if ! compgen -G "$wheels/h5py-$h5py_version-*.whl" >/dev/null; then
    say "building h5py $h5py_version on parallel HDF5 at $HDF5_DIR (2 to 5 minutes, once)"
    mkdir -p "$wheels"
    HDF5_MPI=ON CC="$MPICC" CFLAGS="-O1 -g0" pip wheel --no-binary=h5py --no-build-isolation --no-deps --wheel-dir "$wheels" "h5py==$h5py_version"
  fi
  pip install --force-reinstall --no-deps "$wheels"/h5py-"$h5py_version"-*.whl
fi

say "building hpcdistill"
HPCDISTILL_BUILD_MPI=1 pip install --no-build-isolation --editable '.[mpi,sklearn]'
pip install --no-deps "neural-tangents==0.6.5"   # its metadata asks for TensorFlow, which nothing here uses
if [ "$want_tests" = yes ]; then
  say "installing test tools"
  pip install --group test --group lint --group docs
  # Apart, so that nothing else here finds CuPy where there is no GPU: tests/unit/gpu looks at it.
  pip install --upgrade --no-deps --target .venv/cupy "cupy-cuda13x>=14,<15" "cuda-pathfinder>=1.3.4,<2"
  # What a machine without MPI gets in the place of the one built here: tests/system/test_without_mpi.py.
  pip download --no-deps --only-binary=:all: --dest .venv/without-mpi "h5py==$h5py_version"
fi
echo "$fingerprint tests=$want_tests" > "$stamp"
say "ready: . jobs/environment.sh"
