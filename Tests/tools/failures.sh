#!/usr/bin/env bash
# Tests/c/failures.c at every moment that there is: of each call, every callback cancels, and every request of the host's allocator, of malloc and of
# pthread_create is refused, one after the other. `make test` takes every request of malloc of 4096 bytes and more, and some of the small ones.
# The models: the tiny pipeline, and one of 28 blocks, 1000 class names and 287 convolutions (many_layers.py), whose opening alone makes 85,000 small
# requests: of those each 13th, or each EVERYth. Prints a line for each kind of refusal, with how many there were. Takes minutes; needs the library
# that ships, gcc and numpy.
set -uo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
gcc -std=c11 -O1 -Wall -Wextra -Werror -Iinclude Tests/c/failures.c -o "$folder/failures" -L.build-embedded/lib -lditq -Wl,-rpath,"$PWD/.build-embedded/lib" -pthread -ldl || exit 1

# every FAULT MODEL [EACH]
every() {
  local work status
  work=$folder/$1-$(basename "$2")
  mkdir "$work"
  "$folder/failures" "$1" "$2" 0 "$work" "${3:-1}" >"$work/log" 2>&1
  status=$?
  if [ $status = 0 ]; then
    awk -v name="$(basename "$2"), $1" '$1 != "phases" { sum += $2; if ($2) kinds++ } END { printf "ok  %s: %d refusals, %d kinds of calls\n", name, sum, kinds }' "$work/log"
  else
    tail -n 3 "$work/log"
    echo "FAILED  $(basename "$2"), $1: status $status"
    return 1
  fi
}

python3 Tests/tools/many_layers.py "$folder/many" || exit 1
failed=0
for model in Tests/fuzz/models/pipeline "$folder/many"; do
  each=1
  [ "$model" = "$folder/many" ] && each=${EVERY:-13}
  every heap "$model" "$each" & heap=$!
  for fault in callback hook threads blocks; do every $fault "$model" || failed=1; done
  every exhausted "$model" "$each" || failed=1
  wait $heap || failed=1
done
exit $failed
