#!/bin/sh
# setup.sh [--no-install-recommends] PACKAGE…: sees that Debian packages are there; installs what is missing where that is allowed, else prints the one line that does.
set -eu
command -v swift >/dev/null || { echo "swift: Swift 6.3.1 is needed: https://www.swift.org/install/linux" >&2; exit 1; }
option=
case $1 in --*) option=$1 && shift ;; esac
missing=
for package in "$@"; do
  case $package in # what counts is the thing, not who installed it
    libpng-dev) [ -e /usr/include/png.h ] || [ -e /usr/local/include/png.h ] || missing="$missing $package" ;;
    python3-venv) python3 -c 'import ensurepip' 2>/dev/null || missing="$missing $package" ;;
    abigail-tools) command -v abidiff >/dev/null || missing="$missing $package" ;;
    binutils) command -v readelf >/dev/null || missing="$missing $package" ;;
    gcc-*-linux-gnu) command -v "${package#gcc-}-gcc" >/dev/null || missing="$missing $package" ;;
    qemu-user-static) command -v qemu-aarch64-static >/dev/null || missing="$missing $package" ;;
    qemu-system-arm) command -v qemu-system-aarch64 >/dev/null || missing="$missing $package" ;;
    qemu-system-misc) command -v qemu-system-riscv64 >/dev/null || missing="$missing $package" ;;
    bochsbios) [ -e /usr/share/bochs/BIOS-bochs-latest ] || missing="$missing $package" ;;
    vgabios) [ -e /usr/share/vgabios/vgabios.bin ] || missing="$missing $package" ;;
    bochs-term) command -v bochs >/dev/null || missing="$missing $package" ;; # bochs depends on some screen, this is the smallest
    isolinux) [ -e /usr/lib/ISOLINUX/isolinux.bin ] || missing="$missing $package" ;;
    syslinux-common) [ -e /usr/lib/syslinux/modules/bios/ldlinux.c32 ] || missing="$missing $package" ;;
    busybox-static) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" >/dev/null 2>&1 || missing="$missing $package" ;;
    *) command -v "$package" >/dev/null || missing="$missing $package" ;;
  esac
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  apt-get install -y -q $option $missing >/dev/null 2>&1 || { apt-get update -q >/dev/null && apt-get install -y -q $option $missing >/dev/null; }
else
  echo "missing:$missing. Install with: sudo apt-get install -y $option$missing" >&2
  exit 1
fi
