#!/usr/bin/env bash
# C programs of Tests/c under AddressSanitizer with LeakSanitizer and UndefinedBehaviorSanitizer, under ThreadSanitizer, and under valgrind's
# memcheck: sanitize.sh address|thread|valgrind [SECONDS of the soak]. Prints "ok" lines; any report ends it with status 1. The first two need
# what sanitized.sh makes, the last the library that ships, of which valgrind runs the sets up to AVX2.
set -euo pipefail
cd "$(dirname "$0")/../.."
tool=$1 seconds=${2:-5}
build=.build-$tool toolchain=$(dirname "$(dirname "$(readlink -f "$(command -v swiftc)")")")
tiny=(Tests/fuzz/models/pipeline Tests/fuzz/corpus/ditq/decoder Tests/fuzz/corpus/ditq/static)
mkdir -p "$build"

# program NAME: builds Tests/c/NAME.c with the library into $build/NAME.
program() {
  local flags=(-std=c11 -g -O1 -Wall -Wextra -Werror -Iinclude)
  case $tool in
    valgrind) gcc "${flags[@]}" Tests/c/"$1".c -o "$build/$1" -L.build-embedded/lib -lditq -Wl,-rpath,"$PWD/.build-embedded/lib" -pthread ;;
    *)
      local sanitizers=$tool more=()
      [ "$tool" = address ] && sanitizers=address,undefined
      # The runtime of ThreadSanitizer in Swift's toolchain wants these two, which nothing else uses.
      [ "$tool" = thread ] && more=(-L"$toolchain/lib/swift/linux" -ldispatch -lBlocksRuntime -Wl,-rpath,"$toolchain/lib/swift/linux")
      "$toolchain/bin/clang" "${flags[@]}" -Wno-nullability-completeness -fuse-ld=lld -fsanitize=$sanitizers -fno-sanitize-recover=all Tests/c/"$1".c \
        -Wl,--whole-archive "$build/libditq.a" -Wl,--no-whole-archive -lpng -lm -pthread "${more[@]}" -o "$build/$1"
      ;;
  esac
}

# clean NAME ARGUMENT…: runs it, and shows its last lines where it ends otherwise than with 0.
clean() {
  local runner=()
  [ "$tool" = valgrind ] && runner=(valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite,possible)
  if "${runner[@]}" "$build/$1" "${@:2}" >"$build/log" 2>&1; then
    echo "ok  $tool: $* $(grep -o ':.*pictures.*' "$build/log" || true)"
  else
    head -n 80 "$build/log"
    echo "FAILED  $tool: $*"
    exit 1
  fi
}

program soak && program every_set && program awkward_shapes && program changing
if [ "$tool" != thread ]; then
  for model in "${tiny[@]}"; do clean every_set "$model" 2; done
  clean awkward_shapes
  clean changing Tests/fuzz/models/float.safetensors 3
fi
if [ "$tool" = address ]; then
  for model in emoji.safetensors emoji-w8a8.ditq emoji-w4a8.ditq; do clean every_set examples/models/emoji/$model 2; done
fi
clean soak "$seconds" "${tiny[@]}"
