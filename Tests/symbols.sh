#!/usr/bin/env bash
# Looks at the object files of the Embedded build for three traps of the toolchain, which no functional test on one machine would find.
#   1. A function with code for a better CPU under a name that another object defines too: the linker may keep either. Names that the kernel
#      modules share must be defined in the core, which is linked first.
#   2. Static arrays of the core emitted again in the facade: both modules number them for themselves, and the linker mixes them up.
#   3. A function of KernelMath that was not inlined into the kernels of AVX2 or AVX-512: it takes sixteen floats in four pieces, which costs more
#      than what it does. Only rows may be quantized, a whole panel expanded, and a whole tile put out, in a call. (What makes it so: closures in closures, methods
#      of the set.)
#   4. Kernels without the instructions that their set exists for, as many as there are where all is inlined.
set -euo pipefail
cd "$(dirname "$0")/.."
objects=$(readlink -f .build-embedded/release)
failed=0
names() { nm --defined-only "$@" 2>/dev/null | awk '$2 ~ /[TWVDRB]/ { print $3 }' | sort -u; }

before=$(names "$objects"/Ditq.build/*.o "$objects"/DitqCore.build/*.o "$objects"/KernelMath.build/*.o)
for module in KernelsGeneric KernelsAVX2 KernelsAVX512; do
  [ -d "$objects/$module.build" ] || { echo "FAILED  $module was not built"; exit 1; }
  for other in KernelsGeneric KernelsAVX2 KernelsAVX512; do
    [ "$module" \< "$other" ] || continue
    shared=$(comm -12 <(names "$objects/$module.build"/*.o) <(names "$objects/$other.build"/*.o))
    alone=$(comm -23 <(echo "$shared") <(echo "$before"))
    if [ -n "$alone" ]; then echo "FAILED  $module and $other both define: $alone"; failed=1; fi
  done
  math=$(nm --defined-only "$objects/$module.build"/*.o | awk '$2 ~ /[TW]/ { print $3 }' | grep '10KernelMath' | grep -v "$module" || true)
  if [ -n "$math" ]; then echo "FAILED  $module emits functions of KernelMath under a name that is not its own: $math"; failed=1; fi
  echo "ok  $module: no code under a name of others"
done

for module in KernelsAVX2 KernelsAVX512; do
  called=$(nm --defined-only "$objects/$module.build"/*.o | awk '$2 ~ /[tTwW]/ { print $3 }' | grep '10KernelMath0A3SetP' | grep -vE '11expandPanel|8completeyy|8quantizeyy' || true)
  if [ -n "$called" ]; then echo "FAILED  $module calls what it should have inlined: $called"; failed=1; else echo "ok  $module: everything is inlined"; fi
done

# count MODULE INSTRUCTION LEAST
count() {
  local found
  found=$(objdump -d --no-show-raw-insn "$objects/$1.build"/*.o | grep -cE "[[:space:]]$2([[:space:]]|\$)" || true)
  if [ "$found" -lt "$3" ]; then echo "FAILED  $1: at least $3 $2 expected, $found found"; failed=1; else echo "ok  $1: $found $2"; fi
}
count KernelsAVX2 vpmaddwd 180
count KernelsAVX2 vpmaddubsw 80
count KernelsAVX512 vpdpbusd 400
count KernelsAVX512 vpdpwssd 40

order=$(find "$objects/" -name Objects.LinkFileList -exec cat {} + | grep -nE 'Ditq(Core)?\.build|Kernels[A-Z].*\.build' || true)
last_core=$(echo "$order" | grep -E 'Ditq(Core)?\.build' | tail -1 | cut -d: -f1)
first_kernel=$(echo "$order" | grep -E 'Kernels' | head -1 | cut -d: -f1)
if [ "${last_core:-0}" = 0 ] || [ "${last_core:-0}" -gt "${first_kernel:-0}" ]; then
  echo "FAILED  the core is not linked before the kernels (lines $last_core and $first_kernel of the link list)"; failed=1
fi

mixed=$(names "$objects"/Ditq.build/*.o | grep -E '8DitqCore.*Tv[0-9]*_r$' || true)
if [ -n "$mixed" ]; then echo "FAILED  the facade emits static arrays of the core (mark the entry point @export(interface)): $mixed"; failed=1; fi
[ "$failed" = 1 ] || echo "ok  the facade emits no static array of the core"
exit "$failed"
