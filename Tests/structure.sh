#!/usr/bin/env bash
# The house must stand when the upper floors are removed: type-checks Sources/DitqCore floor upon floor, so that whatever uses a floor above
# its own fails to compile. Then reads every Swift file: its length, its opening comment, what it imports.
# Needs swiftc; SWIFTC names another one. Prints what it checked; the status is 1 when anything is wrong.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

FLOORS=(Platform Storage Compute Quantization Sampling Model Pipelines)
C_MODULES=(CPlatform CPNG CKernels)
LONGEST=300 # lines of a Swift file

swiftc=${SWIFTC:-swiftc}
temporary=$(mktemp -d)
trap 'rm -rf "$temporary"' EXIT
failed=0
fail() { echo "FAILED  $*"; failed=$((failed + 1)); }

# ---- Floors ----

# The settings of Package.swift: language mode 6 of its tools version, `package` access, C targets by their include folders.
options=(-typecheck -wmo -module-name DitqCore -parse-as-library -swift-version 6 -package-name libditq -module-cache-path "$temporary/cache")
for module in "${C_MODULES[@]}"; do
  mkdir "$temporary/$module"
  printf 'module %s {\n  umbrella header "%s"\n  export *\n}\n' "$module" "$PWD/Sources/$module/include/$module.h" >"$temporary/$module/module.modulemap"
  options+=(-Xcc "-fmodule-map-file=$temporary/$module/module.modulemap" -I "$PWD/Sources/$module/include")
done

for file in Sources/DitqCore/*.swift; do fail "$file stands on no floor: floors are the folders of Sources/DitqCore"; done
for folder in Sources/DitqCore/*/; do
  name=$(basename "$folder")
  [[ " ${FLOORS[*]} " == *" $name "* ]] || fail "Sources/DitqCore/$name is no floor; they are: ${FLOORS[*]}"
done

files=() standing=()
for floor in "${FLOORS[@]}"; do
  own=()
  [ -d "Sources/DitqCore/$floor" ] && while IFS= read -r file; do own+=("$file"); done < <(find "Sources/DitqCore/$floor" -name '*.swift' | sort)
  if [ "${#own[@]}" -eq 0 ]; then
    echo "--  $floor: nothing here yet"
    continue
  fi
  files+=("${own[@]}")
  standing+=("$floor")
  whole=$(IFS=+; echo "${standing[*]}")
  if "$swiftc" "${options[@]}" "${files[@]}" >"$temporary/log" 2>&1; then
    echo "ok  $whole: ${#files[@]} files stand by themselves"
  else
    grep -E 'error:' "$temporary/log" | sed 's/^/    /' | head -20 || true
    fail "$whole does not stand by itself"
  fi
done

# ---- Files ----

swift_files=() core_imports=' CPlatform CPNG CKernels Synchronization '
while IFS= read -r file; do swift_files+=("$file"); done < <(find Sources Tests -name '*.swift' | sort)

# imports FILE: the modules that it imports, a line each.
imports() { sed -nE 's/^[[:space:]]*((@[A-Za-z_()]+|public|package|internal|fileprivate|private)[[:space:]]+)*import[[:space:]]+((struct|class|enum|protocol|func|var|let|typealias)[[:space:]]+)?([A-Za-z_0-9]+).*/\5/p' "$1"; }

before=$failed
for file in "${swift_files[@]}"; do
  lines=$(wc -l <"$file")
  [ "$lines" -le "$LONGEST" ] || fail "$file has $lines lines, $LONGEST are allowed"
  head -n 1 "$file" | grep -qE '^//|^/\*' || fail "$file has no opening comment: what lives here, what it relies on, what it refuses"
  while IFS= read -r module; do
    case "$file" in
      Sources/ditq-tool/*) # a guest: it sees ditq.h alone
        [ "$module" != DitqCore ] || fail "$file imports DitqCore: the tool uses ditq.h alone" ;;
      Sources/*)
        case "$module" in
          Foundation | FoundationEssentials | Glibc | Musl | Darwin | Dispatch) fail "$file imports $module, which an Embedded build has not" ;;
          Kernels*) fail "$file imports $module: kernels are reached through CKernels.h alone" ;;
        esac ;;
    esac
    case "$file" in
      Sources/DitqCore/*) [[ "$core_imports" == *" $module "* ]] || fail "$file imports $module; the core imports only$core_imports" ;;
    esac
  done < <(imports "$file")
done
[ "$failed" -ne "$before" ] || echo "ok  ${#swift_files[@]} Swift files: at most $LONGEST lines, an opening comment, no import from above"

[ "$failed" -eq 0 ] || { echo "structure: $failed failures"; exit 1; }
echo "structure: ${#standing[@]} floors and ${#swift_files[@]} files passed"
