#!/usr/bin/env bash
# Run the kernel engine's native tests under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer;
# compile it for AArch64 (NEON) where a cross compiler is installed, and run that where qemu is.
#
# Also check that code for one instruction set stays in its own namespace: a function shared with the rest of the program
# could be the copy that an older CPU cannot run.
#
# Objects are kept in ~/.cache/hpcdistill/tests (or $XDG_CACHE_HOME/…) until the compiler or a source changes.
#
# usage: bash tests/sanitize.sh [address|thread|apart|neon …]  (default: all; 75 s on 2 cores, 20 s where objects are kept)
set -euo pipefail
cd "$(dirname "$0")/.."
parts=("${@:-all}")
wants() { [[ " ${parts[*]} " == *" $1 "* || " ${parts[*]} " == *" all "* ]]; }

engine=hpcdistill/native/engine
compiler=${CXX:-g++}
cross=aarch64-linux-gnu-g++
key=$({ "$compiler" --version; $cross --version 2>/dev/null || true
        cat tests/sanitize.sh tests/native/engine_test.cpp $engine/*; } | sha256sum | cut -c1-24)
built=${XDG_CACHE_HOME:-$HOME/.cache}/hpcdistill/tests/sanitizers/$key
mkdir -p "$built"
find "$built/.." -mindepth 1 -maxdepth 1 -mtime +7 ! -name "$key" -exec rm -rf {} +
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT

# -g1 is enough for the lines of a report; more takes a quarter longer to compile.
common=(-std=c++17 -O1 -g1 -fno-omit-frame-pointer -ffp-contract=off -Wall -Wextra -Wno-psabi -Wno-maybe-uninitialized)
declare -A sanitizer=([address]="-fsanitize=address,undefined -fno-sanitize-recover=all" [thread]="-fsanitize=thread" [neon]="")
declare -A instructions=([avx2]="-mavx2 -mfma" [avx512]="-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma")
workers=baseline
[ "$(uname -m)" = x86_64 ] && workers="avx512 avx2 baseline"  # the longest first

sources() {  # sources PART: the names of what its program consists of
  local name
  for name in $([ "$1" = neon ] && echo baseline || echo "$workers"); do echo "worker_$name"; done
  echo engine_test engine parallel plan
}

compile() {  # compile PART NAME
  local part=$1 name=$2 with=$compiler file=$engine/$2.cpp output=$built/$1.$2.o
  [ -e "$output" ] && return
  [ "$part" = neon ] && with=$cross
  [ "$name" = engine_test ] && file=tests/native/engine_test.cpp
  # shellcheck disable=SC2086
  "$with" "${common[@]}" ${sanitizer[$part]} ${instructions[${name#worker_}]:-} -c "$file" -o "$output.$$"
  mv "$output.$$" "$output"
}

link() {  # link PART FLAGS …
  local part=$1 with=$compiler
  shift
  [ "$part" = neon ] && with=$cross
  # shellcheck disable=SC2086,SC2046
  "$with" ${sanitizer[$part]} $(printf "$built/$part.%s.o " $(sources "$part")) "$@" -pthread -o "$built/$part.$$"
  mv "$built/$part.$$" "$built/$part"
}

compile_all() {  # compile_all PART …: on all cores
  local part name running=0
  for part in "$@"; do
    for name in $(sources "$part"); do
      [ "$running" -lt "$(env -u OMP_NUM_THREADS nproc)" ] || { wait -n; running=$((running - 1)); }
      compile "$part" "$name" &
      running=$((running + 1))
    done
  done
  while [ "$running" -gt 0 ]; do wait -n; running=$((running - 1)); done
}

wanted=()
wants address && wanted+=(address)
{ wants thread || { wants apart && [ "$(uname -m)" = x86_64 ]; }; } && wanted+=(thread)
wants neon && [ "$(uname -m)" != aarch64 ] && command -v $cross >/dev/null && wanted+=(neon)
compile_all "${wanted[@]}"

if wants address; then
  echo "== AddressSanitizer, UndefinedBehaviorSanitizer"
  link address
  "$built/address"
fi
if wants thread; then
  echo "== ThreadSanitizer"
  link thread
  # It needs a fixed layout of memory, which some kernels' randomisation does not leave it; some containers forbid that.
  fixed=(setarch "$(uname -m)" -R)
  "${fixed[@]}" true 2>/dev/null || fixed=()
  "${fixed[@]}" "$built/thread" 40  # small images reach every line, too; it is ten times as slow as the other
fi
if wants apart && [ "$(uname -m)" = x86_64 ]; then
  echo "== instruction sets apart"
  for name in avx2 avx512; do
    if nm -C "$built/thread.worker_$name.o" | grep -E ' [TWu] ' | grep -v " hpcdistill::$name::"; then
      echo "these functions of worker_$name.cpp are visible to code for other CPUs" >&2
      exit 1
    fi
  done
fi
if wants neon; then
  echo "== AArch64"
  if [ "$(uname -m)" = aarch64 ]; then
    echo "this is AArch64: the tests above ran on NEON"
  elif ! command -v $cross >/dev/null; then
    echo "skipped: NEON is neither compiled nor tested here ($cross is not installed)"
  else
    link neon -static
    if command -v qemu-aarch64 >/dev/null; then
      qemu-aarch64 "$built/neon"
    else
      echo "compiled; NEON is not tested (qemu-aarch64 is not installed)"
    fi
  fi
fi
