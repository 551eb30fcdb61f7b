/* What needs _GNU_SOURCE, which the header may not define. */
#define _GNU_SOURCE
#include "CPlatform.h"

const char *ditqp_error_text(int number, char *buffer, size_t size) {
#if defined(__GLIBC__)
  return strerror_r(number, buffer, size);
#else
  return strerror_r(number, buffer, size) == 0 ? buffer : "unknown error";
#endif
}

int ditqp_affinity_count(void) {
  /* 1024 CPUs is what cpu_set_t holds; a larger machine needs a larger set. */
  for (size_t cpus = CPU_SETSIZE; cpus <= 64 * CPU_SETSIZE; cpus *= 4) {
    cpu_set_t *set = CPU_ALLOC(cpus);
    if (!set) return 0;
    int count = sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set) == 0 ? CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), set) : 0;
    CPU_FREE(set);
    if (count > 0) return count;
  }
  return 0;
}
