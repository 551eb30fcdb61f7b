/*
 * The peak of the loops of loops.c: which of them this CPU runs, and how fast on several threads at once.
 */
#define _GNU_SOURCE
#include "CPeak.h"
#include "crew.h"
#include "loops.h"

#include <sched.h>

/* ---- What the CPU has ------------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
#include <cpuid.h>

/* Careful: the same conditions as libditq's, or another instruction would be measured than the library uses. */
static int32_t best_set(void) {
  unsigned a, b, c, d, low, high;
  const unsigned fma = 1u << 12, saved = 1u << 27, avx = 1u << 28;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (fma | saved | avx)) != (fma | saved | avx)) return GENERIC;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x6) != 0x6 || !__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b & (1u << 5))) return GENERIC;
  const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, vnni = 1u << 11;
  int has512 = (low & 0xe6) == 0xe6 && (b & (f | dq | bw | vl)) == (f | dq | bw | vl) && (c & vnni);
  return has512 ? AVX512 : AVX2;
}
#else
static int32_t best_set(void) { return GENERIC; }
#endif

int32_t peak_instruction_set(int32_t limit) {
  int32_t best = best_set();
  return limit > 0 && limit < best ? limit : best;
}
const char *peak_set_name(int32_t set) { return method_of(set, PEAK_FLOAT).set; }
const char *peak_instruction_name(int32_t set, int32_t kind) { return method_of(set, kind).instruction; }

int32_t peak_cpu_count(void) {
  cpu_set_t set;
  int count = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  return count > 0 ? count : 1;
}

/* ---- How fast it is ------------------------------------------------------------------------------------------------------ */

static int64_t multiply(void *context, int32_t thread) {
  (void)thread;
  const method *method = context;
  method->loop(method->rounds);
  return method->rounds * method->macs;
}

double peak_measure(int32_t set, int32_t kind, int32_t threads, double seconds) {
  method method = method_of(set, kind);
  return crew_rate(multiply, &method, threads, seconds);
}
