#!/usr/bin/env bash
# avx512.sh [MODEL…]: the AVX-512 VNNI kernels on a CPU that has none: in Bochs, which emulates them, as QEMU does not. Debian's Linux boots in
# it on an Ice Lake, runs awkward_shapes and every_set, linked with the archive, and writes what they print to a serial port. All sets must agree
# there, with AVX-512 VNNI among them, and with this CPU. Prints a line for each passed check; the status is 1 when anything is wrong. Needs what
# the Makefile's target test-avx512 installs. With models, paths in the repository, every_set draws by these alone: a small one takes half a minute.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=$PWD/.build-bochs limit=${LIMIT:-7200} # seconds until a machine is given up
models=(Tests/Fixtures/diffusers-a/pipeline examples/models/emoji/emoji-w{8,4}a8.ditq Tests/fuzz/corpus/ditq/{static,w4,decoder})
[ $# -eq 0 ] || models=("$@")
grep -q avx512_vnni /proc/cpuinfo && echo "This CPU has AVX-512 VNNI: \`make test\` sees these kernels too."
mkdir -p "$build" && rm -rf "$build"/boot-*
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
trap 'exit 1' INT TERM

# Debian's kernel for virtual machines, the one that starts fastest: unpacked here, not installed.
if [ ! -e "$build/vmlinuz" ]; then
  name=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
  rm -rf "$build"/{*.deb,kernel}
  (
    cd "$build"
    apt-get download -q "$name" >/dev/null 2>&1 || { apt-get update -q && apt-get download -q "$name"; } >/dev/null
    dpkg-deb -x ./*.deb kernel && mv kernel/boot/vmlinuz-* vmlinuz
  )
  rm -rf "$build"/{*.deb,kernel}
fi

for name in awkward_shapes every_set; do
  gcc -std=c11 -O2 -Wall -Wextra -Werror -pedantic -Iinclude "Tests/c/$name.c" -o "$build/$name" -static .build-embedded/lib/libditq.a -lpng -lz -lm -pthread
done

# What the kernel is told. Careful: where Bochs 2.7 speaks of PKRU, XSAVEC and FSRM, it is wrong, and the kernel has no AVX-512 or never starts:
# they are taken from it, nothing here asks for them. The rest saves time: the clock is instructions, `mips` million a second; no tests of
# ciphers, no certificates, no tracing.
mips=10
kernel=(console=ttyS0,115200 loglevel=2 panic=-1 reboot=t clearcpuid=pku,xsavec,xsaves,fsrm acpi=off mitigations=off nokaslr no_timer_check nowatchdog
  random.trust_cpu=on tsc=reliable tsc_early_khz=${mips}000 lpj=$((mips * 4000))
  initcall_blacklist=crypto_algapi_init,crypto_kdf108_init,load_system_certificate_list,trace_eval_init,init_kprobe_trace,intel_pstate_init,cubictcp_register)

# boot NAME COMMAND…: a machine that runs the commands, each in one word, beside the models; what they print is in boot-NAME.txt.
boot() {
  local folder=$build/boot-$1 root=$build/boot-$1/root path command
  shift
  mkdir -p "$root"/{bin,dev,work} "$folder/disc/isolinux"
  cp "$(command -v busybox)" "$build"/{awkward_shapes,every_set} "$root/bin"
  for path in "${models[@]}"; do mkdir -p "$root/work/$(dirname "$path")" && cp -r "$path" "$root/work/$path"; done
  {
    printf '#!/bin/busybox sh\nbusybox mount -t devtmpfs dev /dev\nexec >/dev/ttyS0 2>&1\ncd /work\n'
    # A heap that grows and shrinks with each product costs more than the products.
    echo 'export PATH=/bin GLIBC_TUNABLES=glibc.malloc.trim_threshold=268435456:glibc.malloc.mmap_threshold=268435456'
    for command in "$@"; do printf 'echo "-- %s"\n%s\necho "status $?"\n' "$command" "$command"; done
    echo 'busybox reboot -f' # which ends Bochs, see reset_on_triple_fault
  } >"$root/init"
  chmod +x "$root/init"
  (cd "$root" && find . | cpio --quiet -o -H newc) >"$folder/disc/initrd"
  cp "$build/vmlinuz" "$folder/disc"
  cp /usr/lib/ISOLINUX/isolinux.bin /usr/lib/syslinux/modules/bios/ldlinux.c32 "$folder/disc/isolinux"
  echo "DEFAULT /vmlinuz initrd=/initrd ${kernel[*]}" >"$folder/disc/isolinux/isolinux.cfg"
  xorriso -as mkisofs -quiet -o "$folder/disc.iso" -b isolinux/isolinux.bin -c isolinux/boot.cat -no-emul-boot -boot-load-size 4 -boot-info-table \
    "$folder/disc" 2>"$folder/xorriso"
  cat >"$folder/bochsrc" <<END
cpu: model=corei7_icelake_u, count=1, ips=${mips}000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
ata0-master: type=cdrom, path="$folder/disc.iso", status=inserted
boot: cdrom
clock: sync=none
com1: enabled=1, mode=file, dev="$folder/serial"
display_library: rfb, options="timeout=0"
speaker: enabled=0
log: "$folder/log"
panic: action=fatal
error: action=ignore
info: action=ignore
END
  printf 'c\nq\n' >"$folder/debugger" # Debian's Bochs has a debugger, which waits to be told
  timeout "$limit" bochs -q -f "$folder/bochsrc" -rc "$folder/debugger" </dev/null >"$folder/said" 2>&1 &
  trap "kill $!" TERM
  wait "$!" || true
  tr -d '\r' <"$folder/serial" >"$folder.txt"
}

# check COMMAND: it prints there what it prints here; of the sets that every_set names, AVX-512 VNNI is the last.
check() {
  local command=$1 here there
  here=$(PATH=$build $command) || true
  case $command in every_set*) here=$(printf "${here%% *} %s\n" generic AVX2 "AVX-512 VNNI") ;; esac
  there=$(sed -n "\|^-- $command\$|,/^status/p" "$build"/boot-*.txt | sed 1d)
  if [ "$there" = "$here"$'\n'"status 0" ]; then
    echo "ok  $command: $(echo "$here" | tail -n 1)"
  else
    printf 'FAILED  %s in Bochs, see %s\nexpected:\n%s\nfound:\n%s\n' "$command" "$build" "$here" "$there"
    failed=1
  fi
}

commands=()
for path in "${models[@]}"; do commands+=("every_set $path 1"); done
boot models "${commands[@]}" &
[ $# -gt 0 ] || { boot shapes awkward_shapes & commands+=(awkward_shapes); }
wait
failed=0
for command in "${commands[@]}"; do check "$command"; done
exit "$failed"
