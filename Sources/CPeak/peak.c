/*
 * Peak of independent fused multiply-adds on several threads at once.
 *
 * As many accumulators as there are registers beside two operands, so that latency never shows: two units with four cycles each need
 * eight. Operands are ordinary numbers, since a multiplier fed with zeros saves power and may clock higher than any real work.
 * Each loop is one asm statement: no compiler can move, merge or drop a part of it.
 */
#define _GNU_SOURCE
#include "CPeak.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

enum { GENERIC = 1, AVX2 = 2, AVX512 = 3 }; /* DITQ_ISA_… */

/* ---- The loops: each round is a fixed number of multiply-adds -------------------------------------------------------------- */

_Alignas(64) static const float operands[2][16] = {
    {0.71f, -0.33f, 0.52f, 0.97f, -0.14f, 0.63f, -0.85f, 0.29f, 0.41f, -0.76f, 0.18f, -0.59f, 0.92f, 0.37f, -0.68f, 0.25f},
    {-0.47f, 0.81f, 0.36f, -0.22f, 0.94f, -0.57f, 0.13f, 0.69f, -0.31f, 0.88f, -0.74f, 0.45f, 0.16f, -0.93f, 0.27f, 0.61f},
};

#if defined(__x86_64__)

#define ZERO(r) "vpxord %%zmm" #r ",%%zmm" #r ",%%zmm" #r "\n"
#define STEP(r) "vfmadd231ps %%zmm30,%%zmm31,%%zmm" #r "\n"
#define EACH24(X) \
  X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)

__attribute__((target("avx512f"))) static void loop_avx512(int64_t rounds) {
  __asm__ volatile("vmovups (%1),%%zmm30\n vmovups 64(%1),%%zmm31\n" EACH24(ZERO)
                   "1:\n" EACH24(STEP) "dec %0\n jnz 1b\n vzeroupper\n"
                   : "+r"(rounds)
                   : "r"(operands)
                   : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15", "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm30",
                     "xmm31");
}
#undef ZERO
#undef STEP

#define ZERO(r) "vxorps %%ymm" #r ",%%ymm" #r ",%%ymm" #r "\n"
#define STEP(r) "vfmadd231ps %%ymm14,%%ymm15,%%ymm" #r "\n"
#define EACH14(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13)

__attribute__((target("avx2,fma"))) static void loop_avx2(int64_t rounds) {
  __asm__ volatile("vmovups (%1),%%ymm14\n vmovups 64(%1),%%ymm15\n" EACH14(ZERO)
                   "1:\n" EACH14(STEP) "dec %0\n jnz 1b\n vzeroupper\n"
                   : "+r"(rounds)
                   : "r"(operands)
                   : "cc", "memory", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                     "xmm12", "xmm13", "xmm14", "xmm15");
}

#endif

/* The portable form: vectors of four floats. Where the baseline has no fused multiply-add the compiler calls fmaf for each float. */
typedef float vector __attribute__((vector_size(16)));
enum { PORTABLE_SUMS = 24 };

static void loop_portable(int64_t rounds) {
  const vector a = *(volatile const vector *)operands[0], b = *(volatile const vector *)operands[1];
  vector sums[PORTABLE_SUMS] = {0};
  for (; rounds > 0; rounds--) {
#pragma clang loop unroll(full)
    for (int i = 0; i < PORTABLE_SUMS; i++) sums[i] = __builtin_elementwise_fma(a, b, sums[i]);
  }
  vector used[PORTABLE_SUMS];
  for (int i = 0; i < PORTABLE_SUMS; i++) used[i] = sums[i];
  __asm__ volatile("" : : "r"(used) : "memory");
}

typedef struct method {
  const char *set, *instruction;
  void (*loop)(int64_t rounds);
  int64_t rounds; /* in a chunk, after which the clock is looked at: some 50 µs */
  int64_t macs;   /* in a round */
} method;

static method method_of(int32_t set) {
#if defined(__x86_64__)
  if (set == AVX512) return (method){"AVX-512 VNNI", "vfmadd231ps zmm", loop_avx512, 1 << 14, 24 * 16};
  if (set == AVX2) return (method){"AVX2", "vfmadd231ps ymm", loop_avx2, 1 << 15, 14 * 8};
  return (method){"generic", "fmaf", loop_portable, 1 << 8, PORTABLE_SUMS * 4};
#elif defined(__aarch64__)
  return (method){"generic", "fmla v.4s", loop_portable, 1 << 14, PORTABLE_SUMS * 4};
#else
  return (method){"generic", "portable multiply-add", loop_portable, 1 << 8, PORTABLE_SUMS * 4};
#endif
}

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
const char *peak_set_name(int32_t set) { return method_of(set).set; }
const char *peak_instruction_name(int32_t set) { return method_of(set).instruction; }

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

double peak_measure(int32_t set, int32_t threads, double seconds) {
  if (threads < 1) return -1;
  crew crew = {.method = method_of(set), .seconds = seconds};
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
