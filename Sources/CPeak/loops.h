/* What peak.c runs: for each instruction set and kind of numbers, a loop of nothing but independent multiply-accumulates. */
#ifndef CPEAK_LOOPS_H
#define CPEAK_LOOPS_H

#include <stdint.h>

enum { GENERIC = 1, AVX2 = 2, AVX512 = 3 }; /* DITQ_ISA_… */

typedef struct method {
  const char *set, *instruction;
  void (*loop)(int64_t rounds);
  int64_t rounds; /* in a chunk, after which the clock is looked at: some 50 µs */
  int64_t macs;   /* in a round */
} method;

method method_of(int32_t set, int32_t kind);

#endif
