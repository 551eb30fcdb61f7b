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
    kernels=(KernelsGeneric KernelsNEON:-march=armv8.2-a+dotprod KernelsI8MM:-march=armv8.2-a+dotprod+i8mm) ;;
  riscv64-linux-gnu)
    swift_target=riscv64-none-none-eabi machine=(-Xcc -march=rv64gc -Xcc -mabi=lp64d)
    kernels=(KernelsGeneric) ;;
  *) fail "TARGET: aarch64-linux-gnu or riscv64-linux-gnu expected, \"$target\" found" ;;
esac
command -v "$target-gcc" >/dev/null || fail "$target-gcc is missing. Install with: sudo apt-get install -y gcc-$target"
build=$PWD/.build-$target${bare/#--/-}
mkdir -p "$build/lib" "$build/modules"

# ---- C ----

c_modules=(CPlatform CPNG CKernels)
c_flags=(-std=gnu11 -O2 -fPIC -ffunction-sections -Wall -Werror)
[ -n "$bare" ] && c_modules=(CPlatform CKernels) && c_flags+=(-ffreestanding -DDITQ_BARE)
[ -n "$bare" ] || Tests/tools/cross_libpng.sh "$target" "$build/sysroot"

clang_flags=(-Xcc -fPIC -Xcc -isystem -Xcc "/usr/$target/include" ${bare:+-Xcc -DDITQ_BARE})
objects=()
for module in "${c_modules[@]}"; do
  include=$PWD/Sources/$module/include
  mkdir -p "$build/modules/$module"
  printf 'module %s {\n  umbrella header "%s/%s.h"\n  export *\n}\n' "$module" "$include" "$module" >"$build/modules/$module/module.modulemap"
  clang_flags+=(-Xcc "-fmodule-map-file=$build/modules/$module/module.modulemap" -I "$include")
  for source in "Sources/$module"/*.c; do
    object=$build/$(basename "$source" .c).o
    "$target-gcc" "${c_flags[@]}" -I "$include" -I "$build/sysroot/include" -c "$source" -o "$object"
    objects+=("$object")
  done
done

# ---- Swift ----

swift_flags=(-target "$swift_target" "${machine[@]}" -enable-experimental-feature Embedded -wmo -parse-as-library -swift-version 6
  -package-name libditq -module-cache-path "$build/cache" -Xfrontend -function-sections -I "$build/modules" -I include "${clang_flags[@]}")

# module NAME FLAG…: compiles Sources/NAME to an object file, with its .swiftmodule beside the others.
module() {
  local name=$1 sources=()
  shift
  while IFS= read -r source; do sources+=("$source"); done < <(find "Sources/$name" -name '*.swift' | sort)
  swiftc "${swift_flags[@]}" "$@" -module-name "$name" -emit-module -emit-module-path "$build/modules/$name.swiftmodule" \
    -c "${sources[@]}" -o "$build/$name.o"
}

module KernelMath -O
module DitqCore -Osize
module Ditq -Osize -Xcc -DDITQ_IMPLEMENTATION
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
  rm -f "$build/libditq.a"
  "$target-ar" -rcs "$build/libditq.a" "${objects[@]}"
else
  library=$build/lib/libditq.so.1
  "$target-gcc" -shared -o "$library" "${objects[@]}" "$tables" -L "$build/sysroot/lib" -lpng16 -lm -Wl,-soname,libditq.so.1 \
    -Wl,--version-script=Sources/Ditq/exports.map,--gc-sections,-z,defs,--as-needed,-s
  ln -sf libditq.so.1 "$build/lib/libditq.so"
  echo "$library: $(stat -c %s "$library") bytes"
fi
