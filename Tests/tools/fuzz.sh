#!/usr/bin/env bash
# Runs the fuzz targets of Tests/fuzz, two at a time: fuzz.sh SECONDS [TARGET…]. Each begins with its seeds and what earlier runs on this machine
# found worth keeping (.build-address/corpus); with FUZZ_FRESH set, as in `make test`, with its seeds alone. Prints a line each, "ok  TARGET: …", with
# the seed of its mutations, which FUZZ_SEED sets; or what was found, the file that holds the input, and the input itself in base64 where it is short.
# Needs .build-address/libditq.a (sanitized.sh address).
set -uo pipefail
cd "$(dirname "$0")/../.."
seconds=${1:-20}
shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=($(basename -s .c Tests/fuzz/*.c))
build=.build-address clang=$(dirname "$(readlink -f "$(command -v swiftc)")")/clang
mkdir -p $build/fuzz $build/found
seed=${FUZZ_SEED:-$((RANDOM * 32768 + RANDOM + 1))}
fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
# Short stacks of allocations, and not all that was freed for long: remembering it takes longer than many a call.
export ASAN_OPTIONS=allocator_may_return_null=1:malloc_context_size=3:quarantine_size_mb=64 UBSAN_OPTIONS=print_stacktrace=1

build_target() {
  [ $build/fuzz/"$1" -nt $build/libditq.a ] && [ $build/fuzz/"$1" -nt Tests/fuzz/"$1".c ] && [ $build/fuzz/"$1" -nt Tests/fuzz/fuzz.h ] && [ $build/fuzz/"$1" -nt Tests/fuzz/shapes.h ] && return
  "$clang" -std=c11 -D_GNU_SOURCE -g -O1 -fuse-ld=lld -Wall -Wextra -Werror -Wno-unused-function -Wno-nullability-completeness \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=undefined -Iinclude -DMODELS="\"$PWD/Tests/fuzz/models\"" \
    Tests/fuzz/"$1".c -Wl,--whole-archive $build/libditq.a -Wl,--no-whole-archive -lpng -lm -lpthread -o $build/fuzz/"$1"
}

# Memory is the host's to refuse: a request for terabytes is answered with NULL, as by a machine. -timeout finds what hangs.
run_target() {
  local log=$build/fuzz/$1.log kept=$build/corpus/$1 found=$build/found/$1-
  [ -n "${FUZZ_FRESH:-}" ] && kept=$fresh/$1
  mkdir -p "$kept"
  if build_target "$1" >"$log" 2>&1 && $build/fuzz/"$1" -max_total_time="$seconds" -timeout=100 -report_slow_units=100 -rss_limit_mb=4096 \
    -malloc_limit_mb=1000000 -seed="$seed" -print_final_stats=1 -artifact_prefix="$found" "$kept" Tests/fuzz/corpus/"$1" >"$log" 2>&1; then
    echo "ok  $1: $(awk '/number_of_executed_units/ { print $2 }' "$log") executions, $(awk '$2 == "DONE" { print $4 }' "$log") edges, seed $seed"
  else
    tail -n 60 "$log"
    echo "FAILED  $1: seed $seed, the input is in $build/found"
    local input
    input=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    [ -n "$input" ] && [ "$(stat -c %s "$input")" -le 4096 ] && echo "$1, base64: $(base64 -w 0 "$input")"
    return 1
  fi
}

failed=0 running=0
for target in "${targets[@]}"; do
  run_target "$target" &
  running=$((running + 1))
  if [ $running -ge 2 ]; then
    wait -n || failed=1
    running=$((running - 1))
  fi
done
while [ $running -gt 0 ]; do
  wait -n || failed=1
  running=$((running - 1))
done
exit $failed
