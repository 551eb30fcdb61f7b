#!/usr/bin/env bash
# Two builds of the same sources, in folders of different names and depths, give the same libditq.so.1: byte for byte. Prints its SHA-256.
# Takes what git knows of, changes included, and as long as two builds.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
folders=(a somewhere-else/much-deeper/than-the-first)
for folder in "${folders[@]}"; do
  mkdir -p "$root/$folder"
  git ls-files -z | xargs -0 cp --parents -t "$root/$folder"
done
for folder in "${folders[@]}"; do
  if ! make --no-print-directory -C "$root/$folder" lib >"$root/log" 2>&1; then
    tail -n 40 "$root/log"
    exit 1
  fi
  sha256sum <"$root/$folder/.build-embedded/lib/libditq.so.1" | cut -d ' ' -f 1 >>"$root/sums"
done
cat "$root/sums"
[ "$(sort -u "$root/sums" | wc -l)" -eq 1 ] || { echo "FAILED  the builds differ" && exit 1; }
echo "ok  two builds in different folders are the same"
