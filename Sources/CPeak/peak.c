/*
 * The peak of the loops of loops.c: which of them this CPU runs, and how fast on several threads at once.
 */
#define _GNU_SOURCE
#include "CPeak.h"
#include "loops.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* ---- What the CPU has ------------------------------------------------------------------------------------------------------ */

#if defined(__x86_64__)
#include <cpuid.h>

/* Careful: the same conditions as libditq's, or another instruction would be measured than the library uses. */
static int32_t best_set(void) {
  unsigned a, b, c, d, low, high;
  const unsigned fma = 1u << 12, saved = 1u << 27, avx = 1u << 28, f16c = 1u << 29;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & (fma | saved | avx | f16c)) != (fma | saved | avx | f16c)) return GENERIC;
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

/* ---- Threads --------------------------------------------------------------------------------------------------------------- */

typedef struct crew {
  method method;
  double seconds;
  atomic_int ready; /* threads that have warmed up and wait */
  atomic_int go;    /* 0: wait, 1: run, -1: leave */
} crew;

typedef struct worker {
  crew *crew;
  pthread_t thread;
  double rate;
} worker;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run(worker *worker) {
  const method method = worker->crew->method;
  int64_t chunks = 0;
  double start = now(), elapsed;
  do {
    method.loop(method.rounds);
    chunks++;
    elapsed = now() - start;
  } while (elapsed < worker->crew->seconds);
  worker->rate = (double)chunks * (double)method.rounds * (double)method.macs / elapsed;
}

static void *work(void *context) {
  worker *worker = context;
  crew *crew = worker->crew;
  crew->method.loop(crew->method.rounds);
  atomic_fetch_add(&crew->ready, 1);
  while (atomic_load(&crew->go) == 0) sched_yield();
  if (atomic_load(&crew->go) == 1) run(worker);
  return NULL;
}

double peak_measure(int32_t set, int32_t kind, int32_t threads, double seconds) {
  if (threads < 1) return -1;
  crew crew = {.method = method_of(set, kind), .seconds = seconds};
  worker *workers = calloc((size_t)threads, sizeof *workers);
  if (!workers) return -1;
  int32_t started = 1;
  for (int32_t i = 0; i < threads; i++) workers[i].crew = &crew;
  while (started < threads && pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0) started++;
  crew.method.loop(crew.method.rounds);
  while (atomic_load(&crew.ready) < started - 1) sched_yield();
  atomic_store(&crew.go, started == threads ? 1 : -1);
  if (started == threads) run(&workers[0]);
  double sum = workers[0].rate;
  for (int32_t i = 1; i < started; i++) {
    pthread_join(workers[i].thread, NULL);
    sum += workers[i].rate;
  }
  free(workers);
  return started == threads ? sum : -1;
}
