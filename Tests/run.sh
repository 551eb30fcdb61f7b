#!/usr/bin/env bash
# Everything that `make test` runs, in order; the last lines say how many tests passed, and how long each part took. Needs what the Makefile's setup
# targets install and the built libraries. Each part goes on after another one's failure, so that one run tells all.
set -uo pipefail
cd "$(dirname "$0")/.."
embedded=$PWD/.build-embedded/lib/libditq.so.1
log=$(mktemp) cpus=$(mktemp)
trap 'rm -f "$log" "$cpus" "$cpus.status"' EXIT
passed=0 failed=0 summary=() began=$SECONDS

# part NAME COMMAND…: runs a command, counts its "ok" lines, or what Swift Testing and pytest say of themselves.
part() {
  local name=$1 good bad start=$SECONDS
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

lint() { swift format lint --strict --recursive --configuration .swift-format Package.swift Sources Tests && echo "ok  format"; }

# The regular build: the unit tests, and a library whose bytes are compared with the shipped one's. Release, because debug numerics are slow.
# All of it is built by one command: those that build a part compile the others' modules again.
regular() { swift "$@" -c release -Xswiftc -enable-testing --scratch-path .build-test; }
swift_tests() { regular build --build-tests && regular test --skip-build; }

# Mostly emulation on one core: it runs beside all the others, and is told last.
{ Tests/other_cpus.py >"$cpus" 2>&1; echo $? >"$cpus.status"; } &

part "headers" Tests/headers.sh
part "ABI layout" Tests/tools/abi_layout.py --check
part "ABI" Tests/abi.sh
part "structure" Tests/structure.sh
part "symbols" Tests/symbols.sh
part "format" lint
part "Swift tests" swift_tests
part "install" Tests/install.sh
export DITQ_LIBRARY=$embedded DITQ_REGULAR_LIBRARY=$PWD/.build-test/release/libditq.so DITQ_TOOL=$PWD/.build-test/release/ditq-tool
part "fuzzing" env FUZZ_FRESH=1 Tests/tools/fuzz.sh 10
grep '^ok ' "$log"
part "sanitizers" bash -c 'status=0; Tests/tools/sanitize.sh address 3 || status=1; Tests/tools/sanitize.sh thread 15 || status=1; exit $status'
part "SBOM" bash -c 'Tests/tools/sbom.py .build-embedded/lib/libditq.so.1 0 | python3 -m json.tool >/dev/null && echo "ok  SBOM"'
part "C and Python tests" python3 -m pytest -q -p no:cacheprovider Tests/python
wait
part "other CPUs" bash -c 'cat "$1"; exit "$(cat "$1.status")"' _ "$cpus"
grep '^|' "$log"

echo
printf '%s\n' "${summary[@]}"
echo "$passed tests passed, $failed failed, in $((SECONDS - began)) s"
[ "$failed" -eq 0 ]
