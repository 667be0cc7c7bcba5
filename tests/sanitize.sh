#!/usr/bin/env bash
# Run the kernel engine's native tests under AddressSanitizer with UndefinedBehaviorSanitizer, and under ThreadSanitizer;
# compile it for AArch64 (NEON) where a cross compiler is installed, and run that where qemu is.
#
# Also check that code for one instruction set stays in its own namespace: a function shared with the rest of the program
# could be the copy that an older CPU cannot run.
#
# usage: bash tests/sanitize.sh [address|thread|apart|neon …]        (default: all; about 2 minutes on 2 cores)
set -euo pipefail
cd "$(dirname "$0")/.."
parts=("${@:-all}")
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
wants() { [[ " ${parts[*]} " == *" $1 "* || " ${parts[*]} " == *" all "* ]]; }

engine=hpcdistill/native/engine
common=(-std=c++17 -O1 -g -fno-omit-frame-pointer -ffp-contract=off -Wall -Wextra -Wno-psabi -Wno-maybe-uninitialized)
avx2=(-mavx2 -mfma)
avx512=(-mavx512f -mavx512dq -mavx512vl -mavx512bw -mfma)

compile() {  # compile COMPILER OUTPUT WORKERS FLAGS …: flags for all files; workers get their instruction set besides
  local compiler=$1 output=$2 workers=$3 objects=() name
  shift 3
  for name in engine parallel plan; do
    "$compiler" "${common[@]}" "$@" -c "$engine/$name.cpp" -o "$output.$name.o"
    objects+=("$output.$name.o")
  done
  for name in $workers; do
    local set="$name[@]"
    [ "$name" = baseline ] && set="empty[@]"
    "$compiler" "${common[@]}" "$@" ${!set+"${!set}"} -c "$engine/worker_$name.cpp" -o "$output.$name.o"
    objects+=("$output.$name.o")
  done
  "$compiler" "${common[@]}" "$@" tests/native/engine_test.cpp "${objects[@]}" -o "$output" -pthread
}
empty=()

all_workers=baseline
[ "$(uname -m)" = x86_64 ] && all_workers="baseline avx2 avx512"

if wants address; then
  echo "== AddressSanitizer, UndefinedBehaviorSanitizer"
  compile "${CXX:-g++}" "$build/address" "$all_workers" -fsanitize=address,undefined -fno-sanitize-recover=all
  "$build/address"
fi
if wants thread; then
  echo "== ThreadSanitizer"
  compile "${CXX:-g++}" "$build/thread" "$all_workers" -fsanitize=thread
  # It needs a fixed layout of memory, which some kernels' randomisation does not leave it; some containers forbid that.
  fixed=(setarch "$(uname -m)" -R)
  "${fixed[@]}" true 2>/dev/null || fixed=()
  "${fixed[@]}" "$build/thread"
fi
if wants apart && [ "$(uname -m)" = x86_64 ]; then
  echo "== instruction sets apart"
  for name in avx2 avx512; do
    declare -n flags=$name
    "${CXX:-g++}" "${common[@]}" "${flags[@]}" -c "$engine/worker_$name.cpp" -o "$build/$name.o"
    if nm -C "$build/$name.o" | grep -E ' [TWu] ' | grep -v " hpcdistill::$name::"; then
      echo "these functions of worker_$name.cpp are visible to code for other CPUs" >&2
      exit 1
    fi
  done
fi
if wants neon; then
  echo "== AArch64"
  cross=aarch64-linux-gnu-g++
  if [ "$(uname -m)" = aarch64 ]; then
    echo "this is AArch64: the tests above ran on NEON"
  elif ! command -v $cross >/dev/null; then
    echo "skipped: NEON is neither compiled nor tested here ($cross is not installed)"
  else
    compile $cross "$build/neon" baseline -static
    if command -v qemu-aarch64 >/dev/null; then
      qemu-aarch64 "$build/neon"
    else
      echo "compiled; NEON is not tested (qemu-aarch64 is not installed)"
    fi
  fi
fi
