#!/usr/bin/env bash
# Installs into a folder of its own, and sees that programs which know nothing else build and run: in C, C++, with CMake, and gen_png itself.
# Needs the built library; each line of a passed check begins with "ok".
set -euo pipefail
cd "$(dirname "$0")/.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
make --no-print-directory install PREFIX="$root" >/dev/null
model=$root/share/ditq/emoji-w8a8.ditq
export PKG_CONFIG_PATH=$root/lib/pkgconfig
flags=(-Wall -Wextra -Werror -pedantic)
read -ra pkg <<<"$(pkg-config --cflags --libs ditq) -Wl,-rpath,$root/lib"

[ "$(readlink "$root/lib/libditq.so")/$(readlink "$root/lib/libditq.so.1")" = "libditq.so.1/libditq.so.$(pkg-config --modversion ditq)" ]
echo "ok  libditq.so and libditq.so.1 are links to the library of this version"

cc -std=c11 "${flags[@]}" Tests/c/smoke.c -o "$root/smoke" "${pkg[@]}"
sum=$("$root/smoke" "$model")
echo "ok  a C program built with pkg-config runs"

defined=$(nm --defined-only --extern-only "$root/lib/libditq.a" | awk 'NF == 3 { print $3 }' | sort)
[ "$defined" = "$(nm -D --defined-only "$root/lib/libditq.so" | awk '{ print $NF }' | sort)" ]
echo "ok  libditq.a shows the names that libditq.so exports, and no other"

read -ra static <<<"$(pkg-config --cflags --static --libs ditq)"
cc -std=c11 "${flags[@]}" Tests/c/smoke.c -o "$root/smoke_static" "${static[@]/#-lditq/-l:libditq.a}"
[ "$("$root/smoke_static" "$model")" = "$sum" ]
if readelf -d "$root/smoke_static" | grep -q libditq; then exit 1; fi
readelf -lW "$root/smoke_static" | grep -q 'GNU_STACK.* RW '
echo "ok  a C program that has libditq.a in itself draws the same picture, and needs no libditq.so"

c++ -std=c++17 "${flags[@]}" examples/cpp/gen_png.cpp -o "$root/gen_png_cpp" "${pkg[@]}"
"$root/gen_png_cpp" "$model" "red apple" 7 "$root/cpp.png" 2>/dev/null >&2
echo "ok  a C++ program built with pkg-config runs"

mkdir "$root/consumer"
cat >"$root/consumer/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.13)
project(consumer C CXX)
find_package(ditq 0.1 REQUIRED)
add_executable(smoke $PWD/Tests/c/smoke.c)
add_executable(gen_png $PWD/examples/cpp/gen_png.cpp)
target_compile_features(gen_png PRIVATE cxx_std_17)
add_executable(smoke_static $PWD/Tests/c/smoke.c)
target_link_libraries(smoke_static PRIVATE ditq::static)
foreach(program smoke gen_png)
  target_link_libraries(\${program} PRIVATE ditq::ditq)
endforeach()
CMAKE
cmake -S "$root/consumer" -B "$root/build" -DCMAKE_PREFIX_PATH="$root" >/dev/null
cmake --build "$root/build" >/dev/null
[ "$("$root/build/smoke" "$model")" = "$sum" ]
[ "$("$root/build/smoke_static" "$model")" = "$sum" ]
"$root/build/gen_png" "$model" "red apple" 7 "$root/cmake.png" 2>/dev/null >&2
cmp "$root/cpp.png" "$root/cmake.png"
echo "ok  C and C++ programs built with CMake run"

sed -i 's/ditq 0.1 REQUIRED/ditq 7 REQUIRED/' "$root/consumer/CMakeLists.txt"
if cmake -S "$root/consumer" -B "$root/other" -DCMAKE_PREFIX_PATH="$root" >/dev/null 2>&1; then exit 1; fi
echo "ok  CMake refuses another major version"

"$root/bin/gen_png" --steps 2 --class "red apple" -o "$root/apple.png" >/dev/null
echo "ok  the installed gen_png finds its model"

for page in "$root"/share/man/man1/{gen_png,ditq}.1; do
  if command -v man >/dev/null; then [ -z "$(man --warnings -l "$page" 2>&1 >/dev/null)" ]; else [ -s "$page" ]; fi
done
for option in $("$root/bin/gen_png" --help | grep -oE '^  -[-a-z]+'); do grep -qF -- "${option//-/\\-}" "$root/share/man/man1/gen_png.1"; done
echo "ok  the man pages are well-formed, and gen_png's names every option"
