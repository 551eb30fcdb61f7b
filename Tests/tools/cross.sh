#!/usr/bin/env bash
# cross.sh TARGET [--bare]: the Embedded library for another machine. TARGET is the prefix of Debian's cross compiler: aarch64-linux-gnu or
# riscv64-linux-gnu. Makes .build-TARGET/lib/libditq.so.1, linked as Package.swift links it here; or with --bare .build-TARGET-bare/libditq.a,
# which needs neither files, threads, libc nor libpng: see examples/bare_metal.
# SwiftPM knows no such target. Swift compiles for the machine without a system, whose object files link with any system's C; the modules and
# their settings are those of Package.swift.
set -euo pipefail
cd "$(dirname "$0")/../.."
fail() { echo "cross.sh: $*" >&2; exit 1; }
target=${1:-} bare=${2:-}
[ -z "$bare" ] || [ "$bare" = --bare ] || fail "--bare or nothing expected, $bare found"
case $target in
  aarch64-linux-gnu)
    swift_target=aarch64-none-none-elf machine=()
    kernels=(KernelsGeneric KernelsNEON:-march=armv8.2-a+dotprod)
    [ -n "$bare" ] || kernels+=(KernelsI8MM:-march=armv8.2-a+dotprod+i8mm) ;;
  riscv64-linux-gnu)
    swift_target=riscv64-none-none-eabi machine=(-Xcc -march=rv64gc -Xcc -mabi=lp64d)
    kernels=(KernelsGeneric) ;;
  *) fail "TARGET: aarch64-linux-gnu or riscv64-linux-gnu expected, \"$target\" found" ;;
esac
command -v "$target-gcc" >/dev/null || fail "$target-gcc is missing. Install with: sudo apt-get install -y gcc-$target"
build=$PWD/.build-$target${bare/#--/-}
mkdir -p "$build/lib" "$build/modules"

# ---- C ----

c_flags=(-std=gnu11 -O2 -fPIC -ffunction-sections -Wall -Werror)
if [ -n "$bare" ]; then # the modules are their headers; -ffreestanding would keep each helper of CKernels from being inlined
  importer=(-Xcc -DDITQ_BARE -Xcc -nostdlibinc)
else
  importer=(-Xcc -isystem -Xcc "/usr/$target/include")
  Tests/tools/cross_libpng.sh "$target" "$build/sysroot"
fi
objects=()
for name in CPlatform CPNG CKernels; do
  include=$PWD/Sources/$name/include
  mkdir -p "$build/modules/$name"
  printf 'module %s {\n  umbrella header "%s/%s.h"\n  export *\n}\n' "$name" "$include" "$name" >"$build/modules/$name/module.modulemap"
  importer+=(-Xcc "-fmodule-map-file=$build/modules/$name/module.modulemap" -I "$include")
  [ -n "$bare" ] && continue
  for source in "Sources/$name"/*.c; do
    object=$build/$(basename "$source" .c).o
    "$target-gcc" "${c_flags[@]}" -I "$include" -I "$build/sysroot/include" -c "$source" -o "$object"
    objects+=("$object")
  done
done

# ---- Swift ----

swift_flags=(-target "$swift_target" "${machine[@]}" -enable-experimental-feature Embedded -wmo -parse-as-library -swift-version 6
  -package-name libditq -module-cache-path "$build/cache" -Xfrontend -function-sections -I "$build/modules" -I include -Xcc -fPIC -Xcc -fno-math-errno "${importer[@]}"
  ${bare:+-D DITQ_BARE -Xfrontend -disable-stack-protector})

# module NAME FLAG…: compiles Sources/NAME to an object file, with its .swiftmodule beside the others.
module() {
  local name=$1 sources=()
  shift
  while IFS= read -r source; do sources+=("$source"); done < <(find "Sources/$name" -name '*.swift' | sort)
  swiftc "${swift_flags[@]}" "$@" -module-name "$name" -emit-module -emit-module-path "$build/modules/$name.swiftmodule" \
    -c "${sources[@]}" -o "$build/$name.o"
}

module KernelMath -O
module DitqCore -Osize -enforce-exclusivity=unchecked
module Ditq -Osize -enforce-exclusivity=unchecked -Xcc -DDITQ_IMPLEMENTATION
kernel_objects=()
for kernel in "${kernels[@]}"; do
  features=${kernel#"${kernel%%:*}"}
  module "${kernel%%:*}" -Ounchecked ${features:+-Xcc "${features#:}"}
  kernel_objects+=("$build/${kernel%%:*}.o")
done

# The core is linked before the kernels: see Tests/symbols.sh.
objects=("$build/Ditq.o" "$build/DitqCore.o" "$build/KernelMath.o" "${objects[@]}" "${kernel_objects[@]}")
tables=$(dirname "$(dirname "$(readlink -f "$(command -v swiftc)")")")/lib/swift/embedded/$swift_target/libswiftUnicodeDataTables.a
if [ -n "$bare" ]; then
  # One object file, whose only names are those of ditq.h. The host's linker drops what nothing reaches.
  "$target-ld" -r -o "$build/ditq.o" "${objects[@]}"
  "$target-objcopy" --wildcard --keep-global-symbol 'ditq_*' "$build/ditq.o"
  rm -f "$build/libditq.a"
  "$target-ar" -rcs "$build/libditq.a" "$build/ditq.o"
  echo "$build/libditq.a: $("$target-size" "$build/ditq.o" | awk 'END { print $1 }') bytes of code and constants"
else
  library=$build/lib/libditq.so.1
  "$target-gcc" -shared -o "$library" "${objects[@]}" "$tables" -L "$build/sysroot/lib" -lpng16 -lm -Wl,-soname,libditq.so.1 \
    -Wl,--version-script=Sources/Ditq/exports.map,--gc-sections,-z,defs,-z,relro,-z,now,-z,noexecstack,--as-needed,-s
  ln -sf libditq.so.1 "$build/lib/libditq.so"
  echo "$library: $(stat -c %s "$library") bytes"
fi
