#!/usr/bin/env bash
# The binary interface is the one that was recorded in Tests/libditq.abi: functions, what they take and give, structs, enumerators' numbers.
#
#     Tests/abi.sh             compares, and sees that the comparison finds changes of every kind
#     Tests/abi.sh --update    records the interface as it is: after an addition, or with another major number
#
# libabigail reads types from debugging information, which the shipped library, stripped, has not. They come from a library of empty functions
# that a C compiler makes of include/ditq.h; that the shipped one has these very functions and types is checked elsewhere: its symbols below,
# the types by the Swift compiler (@c @implementation) and by Tests/DitqABITests/LayoutTests.swift. Needs the built library and abigail-tools.
set -euo pipefail
cd "$(dirname "$0")/.."
record=Tests/libditq.abi library=.build-embedded/lib/libditq.so.1
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT

# The header's types alone: what other types the system's headers have differs from one to the next.
mkdir "$temporary/system"
echo 'typedef __SIZE_TYPE__ size_t;' >"$temporary/system/stddef.h"
for type in int8 uint8 int16 uint16 int32 uint32 int64 uint64; do echo "typedef __${type^^}_TYPE__ ${type}_t;"; done >"$temporary/system/stdint.h"

# interface HEADER RECORD: writes down the interface of a library of the header's empty functions.
interface() {
  Tests/tools/abi_stub.py "$1" >"$temporary/stub.c" || return
  cc -w -g -nostdinc -I "$temporary/system" -fno-eliminate-unused-debug-types -fPIC -shared -nostdlib -Wl,-soname,libditq.so.1 \
    "$temporary/stub.c" -o "$temporary/libditq.so.1" || return
  abidw --load-all-types --no-corpus-path --no-comp-dir-path --no-show-locs --no-elf-needed --no-parameter-names "$temporary/libditq.so.1" >"$2"
}

# changes HEADER: what abidiff says of it against the record; its status is 0 where nothing differs.
changes() {
  interface "$1" "$temporary/now.abi" || return
  abidiff --non-reachable-types --harmless "$record" "$temporary/now.abi"
}

if [ "${1:-}" = --update ]; then
  interface include/ditq.h "$record"
  exit
fi
if ! changes include/ditq.h; then
  echo "FAILED  include/ditq.h is not the interface that was recorded. An addition: Tests/abi.sh --update. Anything else breaks programs."
  exit 1
fi
echo "ok  the header's functions, structs and enumerators are those of the record"

recorded=$(sed -nE "s/.*<elf-symbol name='(\w+)'.*/\1/p" "$record" | sort)
diff <(echo "$recorded") <(nm -D --defined-only "$library" | awk '{ print $NF }' | sort)
echo "ok  the shipped library has the recorded functions, and no others"

# finds WHAT SED-EXPRESSION: the comparison fails for a header changed in this way.
finds() {
  sed -E "$2" include/ditq.h >"$temporary/ditq.h"
  if cmp -s include/ditq.h "$temporary/ditq.h"; then echo "FAILED  $1: the header has no such place"; exit 1; fi
  if changes "$temporary/ditq.h" >"$temporary/log" 2>&1; then echo "FAILED  $1 is not found"; exit 1; fi
  grep -qE '[1-9][0-9]* (removed|changed|added)' <(tr RCA rca <"$temporary/log") || { cat "$temporary/log"; exit 1; }
  echo "ok  it would find $1"
}
finds "a function that is gone" '/^ditq_status ditq_model_verify/d'
finds "a function that is new" 's/^void ditq_model_close.*/&\nvoid ditq_model_new(ditq_model *model);/'
finds "an argument of another type" 's/(ditq_report_sqnr_db\(.*)int32_t step/\1int64_t step/'
finds "another result" 's/^uint32_t ditq_abi_version/uint64_t ditq_abi_version/'
finds "a field of another type" 's/double eta;/float eta;/'
finds "two fields that changed places" 's/int32_t image_height, image_width,/int32_t image_width, image_height,/'
finds "a field in the midst of a struct" 's/^  double guidance_end;/&\n  double guidance_middle;/'
finds "a struct that is longer" 's/^\} ditq_session_options;/  int64_t more;\n&/'
finds "another argument of a hook" 's/(\(\*DITQ_NULLABLE allocate\)\(.*), size_t alignment/\1/'
finds "an enumerator of another number" 's/DITQ_CANCELLED = 7/DITQ_CANCELLED = 17/'
finds "an enumerator that is gone" 's/, DITQ_PHASE_DECODE = 4//'
