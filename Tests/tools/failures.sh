#!/usr/bin/env bash
# Tests/c/failures.c at every moment that there is: of each call, every callback cancels, and every request of the host's allocator, of malloc and of
# pthread_create is refused, one after the other. `make test` takes every request of malloc of 4096 bytes and more, and some of the small ones.
# Prints a line for each kind of refusal, with how many there were. Takes minutes; needs the library that ships and gcc.
set -uo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
gcc -std=c11 -O1 -Wall -Wextra -Werror -Iinclude Tests/c/failures.c -o "$folder/failures" -L.build-embedded/lib -lditq -Wl,-rpath,"$PWD/.build-embedded/lib" -pthread -ldl || exit 1

# every FAULT: of the tiny pipeline, which has a decoder.
every() {
  local log=$folder/$1.log
  mkdir "$folder/$1"
  if "$folder/failures" "$1" Tests/fuzz/models/pipeline 0 "$folder/$1" >"$log" 2>&1; then
    awk -v fault="$1" '$1 != "phases" { sum += $2; if ($2) kinds++ } END { printf "ok  %s: %d refusals, %d kinds of calls\n", fault, sum, kinds }' "$log"
  else
    tail -n 3 "$log"
    echo "FAILED  $1: status $?"
    return 1
  fi
}

failed=0
every heap & heap=$!
for fault in callback hook threads blocks exhausted; do every $fault || failed=1; done
wait $heap || failed=1
exit $failed
