// QEMU's `virt` with a 64-bit Arm CPU: 1 GB of devices below, memory above; entered at EL1.

  .section .start, "ax"
  .global start
start:
  mrs x0, mpidr_el1            // the first core alone
  and x0, x0, #0xff
  cbnz x0, sleep
  mov x0, #3 << 20             // floating point and vectors
  msr cpacr_el1, x0
  // Without address translation all memory counts as devices', which refuse unaligned and exclusive access: map it onto itself.
  adr x0, translation
  msr ttbr0_el1, x0
  mov x0, #0xff00              // kind 0: devices; kind 1: cached memory
  msr mair_el1, x0
  ldr x0, =0x200803519         // 39 bits of address, 4 KB granules, cached walks; 40 bits of physical address
  msr tcr_el1, x0
  isb
  tlbi vmalle1
  dsb sy
  mrs x0, sctlr_el1
  mov x1, #0x1005              // translation and caches on
  orr x0, x0, x1
  msr sctlr_el1, x0
  isb
  ldr x0, =stack_top
  mov sp, x0
  mov x29, #0
  bl boot
sleep:
  wfi
  b sleep

  // PSCI SYSTEM_OFF
  .global power_off
power_off:
  ldr x0, =0x84000008
  hvc #0
  b sleep

  .balign 4096
translation:
  .quad 0x0060000000000401     // 0 … 1 GB: devices, no code
  .quad 0x0000000040000705     // 1 … 2 GB: memory
  .fill 510, 8, 0

  .section .model, "a"
  .balign 64
  .global model_start, model_end
model_start:
  .incbin MODEL
model_end:
