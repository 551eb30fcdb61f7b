#!/usr/bin/env bash
# The library as it ships (Embedded Swift, the same settings), built under a sanitizer of Swift's toolchain: sanitized.sh address|thread
# makes .build-SANITIZER/libditq.a, for C programs that are linked by that toolchain's clang with -fsanitize=SANITIZER, --whole-archive, libpng.
# "address" is also instrumented for libFuzzer, and its C parts by UndefinedBehaviorSanitizer; Swift checks what that would by itself.
set -euo pipefail
cd "$(dirname "$0")/../.."
sanitizer=${1:-}
scratch=$PWD/.build-$sanitizer
coverage=edge,inline-8bit-counters,pc-table,trace-cmp
case $sanitizer in
  address)
    swift=(-sanitize=address "-sanitize-coverage=$coverage")
    c=(-fsanitize=address,undefined -fno-sanitize-recover=undefined "-fsanitize-coverage=$coverage")
    ;;
  thread) swift=(-sanitize=thread) c=(-fsanitize=thread) ;;
  *) echo "sanitized.sh: address or thread expected, \"$sanitizer\" found" >&2 && exit 2 ;;
esac
flags=()
for flag in "${swift[@]}"; do flags+=(-Xswiftc "$flag"); done
for flag in "${c[@]}" -g; do flags+=(-Xcc "$flag"); done
# Objects of sources that are no longer there would stay, and their symbols be there twice.
if [ -d "$scratch/release/" ]; then
  find "$scratch/release/" -path '*.build/*.swift.o' | while read -r object; do
    [ -n "$(find Sources -name "$(basename "$object" .o)" -print -quit)" ] || rm "$object"
  done
fi
DITQ_EMBEDDED=1 swift build -c release --target Ditq --scratch-path "$scratch" "${flags[@]}"
# The core stands before the kernels, as where the library is linked. Whole modules are compiled at once: most objects are empty.
cd "$scratch/release/"
rm -f "$scratch/libditq.a"
find Ditq.build DitqCore.build C*.build Kernel*.build -name '*.o' -size +0 -exec ar rcs "$scratch/libditq.a" {} +
