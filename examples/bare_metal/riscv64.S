# QEMU's `virt` with a 64-bit RISC-V CPU, entered in machine mode.

  .section .start, "ax"
  .global start
start:
  csrr t0, mhartid             # the first core alone
  bnez t0, sleep
  li t0, 1 << 13               # floating point
  csrs mstatus, t0
  la sp, stack_top
  call boot
sleep:
  wfi
  j sleep

  # the test device: finished
  .global power_off
power_off:
  li t0, 0x100000
  li t1, 0x5555
  sw t1, 0(t0)
  j sleep

  .section .model, "a"
  .balign 64
  .global model_start, model_end
model_start:
  .incbin MODEL
model_end:
