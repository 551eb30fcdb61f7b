/* From the first instruction's stack to `main`: memory as C expects it, and a stack whose use can be seen afterwards. */
#include "machine.h"

/* From layout.ld. */
extern uint8_t data_start[], data_end[], data_in_flash[], bss_start[], bss_end[], stack_bottom[], stack_top[];

int main(void);

enum { PAINT = 0xa5 };

void boot(void) {
  const uint8_t *source = data_in_flash;
  for (uint8_t *p = data_start; p < data_end; p++) *p = *source++;
  for (uint8_t *p = bss_start; p < bss_end; p++) *p = 0;
  uint8_t *here = (uint8_t *)__builtin_frame_address(0) - 512; /* this function's own frame stays as it is */
  for (uint8_t *p = stack_bottom; p < here; p++) *p = PAINT;
  main();
  power_off();
}

size_t stack_used(void) {
  const uint8_t *p = stack_bottom;
  while (p < stack_top && *p == PAINT) p++;
  return (size_t)(stack_top - p);
}
size_t stack_size(void) { return (size_t)(stack_top - stack_bottom); }
