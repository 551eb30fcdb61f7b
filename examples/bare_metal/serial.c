/* The serial ports of QEMU's `virt` machines, which take a byte whenever it comes. */
#include "machine.h"

#if defined(__aarch64__)
static volatile uint32_t *const port = (volatile uint32_t *)0x09000000; /* PL011 */
#else
static volatile uint8_t *const port = (volatile uint8_t *)0x10000000; /* 16550 */
#endif

void put_byte(char byte) { *port = (uint8_t)byte; }
