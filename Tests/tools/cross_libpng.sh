#!/usr/bin/env bash
# cross_libpng.sh TARGET FOLDER: sees that there is a libpng to link libditq with for another machine. Where the cross compiler finds none
# (on Debian: libpng-dev of that architecture), zlib and libpng are built from the distribution's source packages into FOLDER.
set -euo pipefail
target=$1 folder=$2
[ -e "$folder/lib/libpng16.so" ] && exit 0
program='#include <png.h>
int main(void) { return png_access_version_number() == 0; }'
"$target-gcc" -x c - -o /dev/null -lpng16 <<<"$program" 2>/dev/null && exit 0

mkdir -p "$folder/source/lists/partial" "$folder/source/cache/archives/partial" "$folder/lib" "$folder/include"
cd "$folder/source"
# apt-get fetches them from where the system's packages come from and checks their signatures, by lists of its own: the system's stay as they are.
. /etc/os-release
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' "Codename: $VERSION_CODENAME" 2>/dev/null | head -1)
keys=/usr/share/keyrings/$ID-archive-keyring.gpg
[ -e "$keys" ] && keys="[signed-by=$keys]" || keys=
echo "deb-src $keys ${uri:-http://deb.debian.org/debian} $VERSION_CODENAME main" >sources.list
apt() { apt-get -qq -o Dir::Etc::SourceList="$PWD/sources.list" -o Dir::Etc::SourceParts=- -o Dir::State::Lists="$PWD/lists" -o Dir::Cache="$PWD/cache" \
  -o APT::Sandbox::User="$(id -un)" "$@"; }
if ! { apt update && apt source --download-only zlib libpng1.6; } >log 2>&1; then
  cat log >&2
  echo "cross_libpng.sh: there is no libpng for $target, and the sources of zlib and libpng could not be fetched with apt-get" >&2
  exit 1
fi
for archive in zlib_*.orig.tar.* libpng1.6_*.orig.tar.*; do tar xf "$archive"; done
cc=("$target-gcc" -O2 -fPIC)

cd zlib-*/
"${cc[@]}" -shared -D_LARGEFILE64_SOURCE -DHAVE_UNISTD_H -Wl,-soname,libz.so.1 -o ../../lib/libz.so.1 \
  adler32.c compress.c crc32.c deflate.c infback.c inffast.c inflate.c inftrees.c trees.c uncompr.c zutil.c gz*.c
ln -sf libz.so.1 ../../lib/libz.so
cp zlib.h zconf.h ../../include
cd ../libpng-*/
cp scripts/pnglibconf.h.prebuilt pnglibconf.h
sources=()
for source in png*.c; do [ "$source" = pngtest.c ] || sources+=("$source"); done
"${cc[@]}" -DPNG_ARM_NEON_OPT=0 -I ../../include -shared -Wl,-soname,libpng16.so.16 -o ../../lib/libpng16.so.16 "${sources[@]}" -L ../../lib -lz -lm
ln -sf libpng16.so.16 ../../lib/libpng16.so
cp png.h pngconf.h pnglibconf.h ../../include
cd ../..
rm -r source
