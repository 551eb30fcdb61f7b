/*
 * The loops: each round is a fixed number of multiply-accumulates.
 *
 * As many accumulators as there are registers beside operands and products, so that latency never shows: two units with four cycles each
 * need eight. Operands are ordinary numbers, since a multiplier fed with zeros saves power and may clock higher than any real work.
 * Each loop is one asm statement, where there is one: no compiler can move, merge or drop a part of it.
 */
#include "loops.h"

#include "CPeak.h"

_Alignas(64) static const float floats[2][16] = {
    {0.71f, -0.33f, 0.52f, 0.97f, -0.14f, 0.63f, -0.85f, 0.29f, 0.41f, -0.76f, 0.18f, -0.59f, 0.92f, 0.37f, -0.68f, 0.25f},
    {-0.47f, 0.81f, 0.36f, -0.22f, 0.94f, -0.57f, 0.13f, 0.69f, -0.31f, 0.88f, -0.74f, 0.45f, 0.16f, -0.93f, 0.27f, 0.61f},
};

#if defined(__x86_64__)

#define EACH12(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define EACH14(X) EACH12(X) X(12) X(13)
#define EACH24(X) EACH14(X) X(14) X(15) X(16) X(17) X(18) X(19) X(20) X(21) X(22) X(23)
#define REGISTERS16 \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define REGISTERS26 REGISTERS16, "xmm16", "xmm17", "xmm18", "xmm19", "xmm20", "xmm21", "xmm22", "xmm23", "xmm30", "xmm31"

/* Rounds of EACH(STEP), with two operands loaded and the sums zeroed before. */
#define LOOP(LOAD, EACH, ZERO, STEP, END, FIRST, SECOND, REGISTERS) \
  __asm__ volatile(LOAD EACH(ZERO) "1:\n" EACH(STEP) "dec %0\n jnz 1b\n" END \
                   : "+r"(rounds) : "r"(FIRST), "r"(SECOND) : "cc", "memory", REGISTERS)

#define LOAD512 "vmovups (%1),%%zmm30\n vmovups (%2),%%zmm31\n"
#define LOAD256 "vmovups (%1),%%ymm14\n vmovups (%2),%%ymm15\n"
#define LOAD128 "movups (%1),%%xmm14\n movups (%2),%%xmm15\n"
#define ZERO512(r) "vpxord %%zmm" #r ",%%zmm" #r ",%%zmm" #r "\n"
#define ZERO256(r) "vxorps %%ymm" #r ",%%ymm" #r ",%%ymm" #r "\n"
#define ZERO128(r) "xorps %%xmm" #r ",%%xmm" #r "\n"

/* ---- Floats ---------------------------------------------------------------------------------------------------------------- */

#define FMA512(r) "vfmadd231ps %%zmm30,%%zmm31,%%zmm" #r "\n"
#define FMA256(r) "vfmadd231ps %%ymm14,%%ymm15,%%ymm" #r "\n"

__attribute__((target("avx512f"))) static void floats_avx512(int64_t rounds) {
  LOOP(LOAD512, EACH24, ZERO512, FMA512, "vzeroupper\n", floats[0], floats[1], REGISTERS26);
}
__attribute__((target("avx2,fma"))) static void floats_avx2(int64_t rounds) {
  LOOP(LOAD256, EACH14, ZERO256, FMA256, "vzeroupper\n", floats[0], floats[1], REGISTERS16);
}

/* ---- Integers: 8-bit numbers, as bytes or widened to words as they must be for vpmaddwd ------------------------------------ */

#define UNSIGNED8 201, 37, 118, 255, 9, 164, 83, 142
#define SIGNED8 -97, 54, 127, -12, 76, -127, 33, -61
#define TWICE(...) __VA_ARGS__, __VA_ARGS__

static const uint8_t unsigned_bytes[64] = {TWICE(TWICE(TWICE(UNSIGNED8)))};
static const int8_t signed_bytes[64] = {TWICE(TWICE(TWICE(SIGNED8)))};
static const int16_t unsigned_words[16] = {TWICE(UNSIGNED8)}, signed_words[16] = {TWICE(SIGNED8)};

#define DOT512(r) "vpdpbusd %%zmm31,%%zmm30,%%zmm" #r "\n"
#define PAIRS256(r) "vpmaddwd %%ymm14,%%ymm15,%%ymm12\n vpaddd %%ymm12,%%ymm" #r ",%%ymm" #r "\n"
#define PAIRS128(r) "movdqa %%xmm14,%%xmm12\n pmaddwd %%xmm15,%%xmm12\n paddd %%xmm12,%%xmm" #r "\n"

__attribute__((target("avx512f,avx512vnni"))) static void integers_avx512(int64_t rounds) {
  LOOP(LOAD512, EACH24, ZERO512, DOT512, "vzeroupper\n", unsigned_bytes, signed_bytes, REGISTERS26);
}
__attribute__((target("avx2"))) static void integers_avx2(int64_t rounds) {
  LOOP(LOAD256, EACH12, ZERO256, PAIRS256, "vzeroupper\n", unsigned_words, signed_words, REGISTERS16);
}
/* Four products of bytes are added up in 16 bits before they join 32-bit sums. */
#define EACH6(X) X(0, 6) X(1, 7) X(2, 8) X(3, 9) X(4, 10) X(5, 11)
#define MORE256(pairs) "vpmaddubsw %%ymm15,%%ymm14,%%ymm12\n vpaddw %%ymm12,%%ymm" #pairs ",%%ymm" #pairs "\n"
#define SMALL256(r, pairs) \
  "vpmaddubsw %%ymm15,%%ymm14,%%ymm" #pairs "\n" MORE256(pairs) MORE256(pairs) MORE256(pairs) \
  "vpmaddwd %%ymm13,%%ymm" #pairs ",%%ymm12\n vpaddd %%ymm12,%%ymm" #r ",%%ymm" #r "\n"
#define ONES256 "vpcmpeqw %%ymm13,%%ymm13,%%ymm13\n vpsrlw $15,%%ymm13,%%ymm13\n"
#define SMALL_ZERO256(r, pairs) ZERO256(r)
static const int8_t small_bytes[32] = {TWICE(TWICE(-11, 7, 15, -1, 4, -15, 9, -6))};

__attribute__((target("avx2"))) static void small_integers_avx2(int64_t rounds) {
  LOOP(LOAD256 ONES256, EACH6, SMALL_ZERO256, SMALL256, "vzeroupper\n", unsigned_bytes, small_bytes, REGISTERS16);
}
static void integers_sse2(int64_t rounds) { LOOP(LOAD128, EACH12, ZERO128, PAIRS128, "", unsigned_words, signed_words, REGISTERS16); }

#endif

/* ---- The portable forms: vectors of four numbers --------------------------------------------------------------------------- */

enum { PORTABLE_SUMS = 24 };
#define FOR_EACH_SUM _Pragma("clang loop unroll(full)") for (int i = 0; i < PORTABLE_SUMS; i++)

/* Where the baseline has no fused multiply-add the compiler calls fmaf for each float. */
typedef float float_vector __attribute__((vector_size(16)));

static void floats_portable(int64_t rounds) {
  const float_vector a = *(volatile const float_vector *)floats[0], b = *(volatile const float_vector *)floats[1];
  float_vector sums[PORTABLE_SUMS] = {0};
  for (; rounds > 0; rounds--) {
    FOR_EACH_SUM sums[i] = __builtin_elementwise_fma(a, b, sums[i]);
  }
  float_vector used[PORTABLE_SUMS];
  for (int i = 0; i < PORTABLE_SUMS; i++) used[i] = sums[i];
  __asm__ volatile("" : : "r"(used) : "memory");
}

#if !defined(__x86_64__)
/* The sum is a factor, so that no product is the same in two rounds and could be taken out of the loop. */
typedef uint32_t integer_vector __attribute__((vector_size(16)));

static void integers_portable(int64_t rounds) {
  volatile uint32_t factor = 201, term = 97;
  const integer_vector a = {factor, factor, factor, factor}, b = {term, term, term, term};
  integer_vector sums[PORTABLE_SUMS];
  for (int i = 0; i < PORTABLE_SUMS; i++) sums[i] = b + (uint32_t)i;
  for (; rounds > 0; rounds--) {
    FOR_EACH_SUM sums[i] = sums[i] * a + b;
  }
  integer_vector used[PORTABLE_SUMS];
  for (int i = 0; i < PORTABLE_SUMS; i++) used[i] = sums[i];
  __asm__ volatile("" : : "r"(used) : "memory");
}
#endif

/* ---- The table ------------------------------------------------------------------------------------------------------------- */

method method_of(int32_t set, int32_t kind) {
#if defined(__x86_64__)
  /* Of the generic set every x86-64 has SSE2, and so a kernel without intrinsics may come to pmaddwd: no less is its ceiling. */
  static const method integers[] = {{"generic", "pmaddwd xmm, paddd", integers_sse2, 1 << 15, 12 * 8},
                                    {"AVX2", "vpmaddwd ymm, vpaddd", integers_avx2, 1 << 15, 12 * 16},
                                    {"AVX-512 VNNI", "vpdpbusd zmm", integers_avx512, 1 << 14, 24 * 64}};
  static const method fused[] = {{"generic", "fmaf", floats_portable, 1 << 8, PORTABLE_SUMS * 4},
                                 {"AVX2", "vfmadd231ps ymm", floats_avx2, 1 << 15, 14 * 8},
                                 {"AVX-512 VNNI", "vfmadd231ps zmm", floats_avx512, 1 << 14, 24 * 16}};
  static const method small = {"AVX2", "vpmaddubsw ymm, vpaddw, vpmaddwd", small_integers_avx2, 1 << 13, 6 * 128};
  if (kind == PEAK_SMALL_INTEGER && set == AVX2) return small;
  int32_t row = set == AVX512 || set == AVX2 ? set - GENERIC : 0;
  return kind == PEAK_FLOAT ? fused[row] : integers[row];
#else
  (void)set;
  if (kind != PEAK_FLOAT) return (method){"generic", "portable 32-bit multiply-add", integers_portable, 1 << 14, PORTABLE_SUMS * 4};
#if defined(__aarch64__)
  return (method){"generic", "fmla v.4s", floats_portable, 1 << 14, PORTABLE_SUMS * 4};
#else
  return (method){"generic", "portable multiply-add", floats_portable, 1 << 8, PORTABLE_SUMS * 4};
#endif
#endif
}
