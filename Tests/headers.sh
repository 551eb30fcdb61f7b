#!/usr/bin/env bash
# Every public header compiles alone, without a warning: C headers as C99, C11 and C++17, C++ headers as C++17, with gcc and with clang.
# CC_GCC, CXX_GCC, CC_CLANG and CXX_CLANG name other compilers. Prints a line for each compilation, and their number at the end.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

flags=(-Wall -Wextra -Werror -pedantic -Iinclude -fsyntax-only)
count=0 failed=0

# compile LANGUAGE STANDARD COMPILER HEADER: includes the header twice, before anything else.
compile() {
  local language=$1 standard=$2 compiler=$3 header=$4
  command -v "$compiler" >/dev/null || { echo "headers: $compiler is not here" >&2; exit 1; }
  local text="#include \"${header#include/}\"
#include \"${header#include/}\"
int ditq_header_is_complete;"
  if printf '%s\n' "$text" | "$compiler" -x "$language" "-std=$standard" "${flags[@]}" -; then
    echo "ok  $header  $standard  $compiler"
  else
    echo "FAILED  $header  $standard  $compiler"
    failed=$((failed + 1))
  fi
  count=$((count + 1))
}

for header in include/*.h; do
  for compiler in "${CC_GCC:-gcc}" "${CC_CLANG:-clang}"; do
    compile c c99 "$compiler" "$header"
    compile c c11 "$compiler" "$header"
  done
  for compiler in "${CXX_GCC:-g++}" "${CXX_CLANG:-clang++}"; do compile c++ c++17 "$compiler" "$header"; done
done
for header in include/*.hpp; do
  for compiler in "${CXX_GCC:-g++}" "${CXX_CLANG:-clang++}"; do compile c++ c++17 "$compiler" "$header"; done
done

[ "$count" -gt 0 ] || { echo "headers: there is none in include/" >&2; exit 1; }
[ "$failed" -eq 0 ] || { echo "headers: $failed of $count compilations failed"; exit 1; }
echo "headers: $count compilations passed"
