#!/usr/bin/env bash
# Everything that `make test` runs, in order; the last lines say how many tests passed, and how long each part took. Needs what the Makefile's setup
# targets install and the built libraries. Each part goes on after another one's failure, so that one run tells all.
set -uo pipefail
cd "$(dirname "$0")/.."
embedded=$PWD/.build-embedded/lib/libditq.so.1
log=$(mktemp) besides=$(mktemp -d)
trap 'rm -rf "$log" "$besides"' EXIT
passed=0 failed=0 summary=() began=$SECONDS

# part NAME COMMAND…: runs a command, counts its "ok" lines, or what Swift Testing and pytest say of themselves. It took `took` seconds before.
part() {
  local name=$1 good bad start=$((SECONDS - ${took:-0}))
  shift
  echo "---- $name"
  "$@" >"$log" 2>&1
  local status=$?
  if good=$(grep -oE 'Test run with [0-9]+ tests?' "$log" | grep -oE '[0-9]+' | awk '{ s += $1 } END { if (NR) print s }') && [ -n "$good" ]; then
    bad=$(grep -cE '^✘ Test .* failed' "$log")
    good=$((good - bad))
  elif good=$(grep -oE '[0-9]+ passed' "$log" | tail -1 | grep -oE '[0-9]+') && [ -n "$good" ]; then
    bad=$(grep -oE '[0-9]+ (failed|error)' "$log" | awk '{ s += $1 } END { print s + 0 }')
  else
    good=$(grep -c '^ok ' "$log")
    bad=0
  fi
  if [ "$status" -ne 0 ]; then
    tail -n 60 "$log"
    [ "$bad" -gt 0 ] || bad=1
  elif [ "$good" -eq 0 ]; then
    tail -n 20 "$log"
    echo "no test ran"
    bad=1
  fi
  passed=$((passed + good)) failed=$((failed + bad))
  summary+=("$(printf '%-28s %5d passed, %d failed, %4d s' "$name" "$good" "$bad" $((SECONDS - start)))")
}

# beside NAME COMMAND…: runs it for `part NAME told NAME` to tell of later.
beside() {
  local start=$SECONDS
  "${@:2}" >"$besides/$1" 2>&1
  echo $? >"$besides/$1.status"
  echo $((SECONDS - start)) >"$besides/$1.seconds"
}
told() { cat "$besides/$1" && return "$(cat "$besides/$1.status")"; }

lint() { swift format lint --strict --recursive --configuration .swift-format Package.swift Sources Tests && echo "ok  format"; }

# The regular build: the unit tests, and a library whose bytes are compared with the shipped one's. Release, because debug numerics are slow.
# All of it is built by one command: those that build a part compile the others' modules again.
regular() { swift "$@" -c release -Xswiftc -enable-testing --scratch-path .build-test; }
swift_tests() { regular build --build-tests && regular test --skip-build; }

fuzzing() {
  make --no-print-directory -j2 .build-address/libditq.a .build-thread/libditq.a && FUZZ_FRESH=1 Tests/tools/fuzz.sh 6
}
sanitizers() {
  local status=0
  Tests/tools/sanitize.sh address 3 || status=1
  Tests/tools/sanitize.sh thread 10 || status=1
  return $status
}

# What needs little more than one core, most of it emulation and building, runs beside all the others and is told last.
{
  beside "other CPUs" Tests/other_cpus.py
  beside fuzzing fuzzing
  beside sanitizers sanitizers
} &

part "headers" Tests/headers.sh
part "ABI layout" Tests/tools/abi_layout.py --check
part "ABI" Tests/abi.sh
part "structure" Tests/structure.sh
part "symbols" Tests/symbols.sh
part "format" lint
part "Swift tests" swift_tests
part "install" Tests/install.sh
export DITQ_LIBRARY=$embedded DITQ_REGULAR_LIBRARY=$PWD/.build-test/release/libditq.so DITQ_TOOL=$PWD/.build-test/release/ditq-tool
part "SBOM" bash -c 'Tests/tools/sbom.py .build-embedded/lib/libditq.so.1 0 | python3 -m json.tool >/dev/null && echo "ok  SBOM"'
part "C and Python tests" python3 -m pytest -q -p no:cacheprovider Tests/python
wait
for name in "other CPUs" fuzzing sanitizers; do
  took=$(cat "$besides/$name.seconds") part "$name" told "$name"
  grep -E '^\||^ok .* executions' "$log"
done

echo
printf '%s\n' "${summary[@]}"
echo "$passed tests passed, $failed failed, in $((SECONDS - began)) s"
[ "$failed" -eq 0 ]
