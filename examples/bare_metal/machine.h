/* What the example asks of the machine and of its memory. */
#ifndef MACHINE_H
#define MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "ditq.h"

/* The serial port: serial.c. The end: aarch64.S, riscv64.S. */
void put_byte(char byte);
void power_off(void) __attribute__((noreturn));

/* boot.c: the most stack that was ever in use, of so many bytes. */
size_t stack_used(void);
size_t stack_size(void);

/* memory.c: the one arena. From `seal_memory` on, what asks for memory gets none, and is counted. */
const ditq_allocator *arena(void);
size_t arena_used(void); /* the most at any time */
size_t arena_size(void);
void seal_memory(void);
size_t refused(void);

/* png.c: an 8-bit RGB picture as a PNG file, deflate's stored form; answers with its size. Needs height · (3 · width + 6) + 100 bytes. */
size_t encode_png(const uint8_t *pixels, uint32_t width, uint32_t height, uint8_t *file);

#endif
