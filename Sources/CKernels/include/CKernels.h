/*
 * The innermost loops, as the rest of the library sees them: one table of functions an instruction set. A kernel checks nothing; its callers
 * in Sources/DitqCore/Compute have. Every table computes the same numbers to the bit: see Sources/KernelMath.
 *
 * Layouts
 *   tile   [depth][rows]  up to tile_rows rows of the left matrix, transposed; tile i of a packed matrix starts at i · tile_rows · depth
 *   panel  [depth][32]    32 outputs of the right matrix, transposed, zeros where the matrix has fewer
 */
#ifndef DITQ_CKERNELS_H
#define DITQ_CKERNELS_H

#include <stdint.h>

enum { DITQK_PANEL_COLUMNS = 32, DITQK_LARGEST_TILE_ROWS = 14 };

/* output [rows, columns] = epilogue(tiles · panels): each sum is one chain of fused multiply-adds over depth, from 0 upwards. */
typedef struct ditqk_gemm {
  const float *tiles;
  const float *panels;
  float *output;             /* row r at output + r · output_stride */
  const float *bias;         /* [columns] added to each row, or NULL */
  const float *gate;         /* with accumulate: output += gate · value; row r uses gate + ((first_row + r) / rows_per_gate) · gate_stride */
  intptr_t rows, columns, depth;
  intptr_t panel_stride;     /* floats from one panel to the next */
  intptr_t output_stride, gate_stride, rows_per_gate, first_row;
  int32_t gelu;              /* 1: value = GELU(value), the tanh form */
  int32_t accumulate;        /* 1: output += value */
} ditqk_gemm;

/* How the numbers of a stored matrix are written. */
enum { DITQK_F32 = 0, DITQK_F16 = 1, DITQK_BF16 = 2 };

typedef struct ditqk_kernels {
  int32_t tile_rows;
  void (*gemm)(const ditqk_gemm *arguments);
  /* tile [depth][count] from `count` rows of depth floats. */
  void (*pack_rows)(const float *const *rows, intptr_t count, intptr_t depth, float *tile);
  /* panel [depth][32] from `count` rows of depth numbers of a stored type at any alignment. */
  void (*pack_panel)(const void *const *rows, intptr_t count, int32_t type, intptr_t depth, float *panel);
  /* panel [depth][32] from a matrix [depth][≥ count] that is transposed already. */
  void (*copy_panel)(const float *source, intptr_t stride, intptr_t count, intptr_t depth, float *panel);
  /* numbers of a stored type as floats */
  void (*convert)(const void *source, int32_t type, intptr_t count, float *output);
  /* output = (x − mean) / √(variance + epsilon) · (1 + scale) + shift, over one row */
  void (*modulate)(const float *x, const float *shift, const float *scale, float epsilon, intptr_t count, float *output);
  /* row = softmax(factor · row) in place */
  void (*softmax)(float *row, float factor, intptr_t count);
  /* output = x / (1 + exp(−x)); the two may be the same */
  void (*silu)(const float *x, intptr_t count, float *output);
  /* sums [columns] = Σ over rows of x, or of (x − mean)² where mean is not NULL */
  void (*column_sums)(const float *x, intptr_t rows, intptr_t columns, const float *mean, float *sums);
  /* output = (x − mean) · factor + offset for [rows][columns], then SiLU where asked */
  void (*normalize)(const float *x, intptr_t rows, intptr_t columns, const float *mean, const float *factor, const float *offset, int32_t silu,
                    float *output);
} ditqk_kernels;

/* Sixteen 16-bit numbers at any alignment as 32-bit ones. In C, because SIMD16(truncatingIfNeeded:) is not inlined. */
typedef uint16_t ditqk_u16x16 __attribute__((ext_vector_type(16), aligned(2)));
typedef uint32_t ditqk_u32x16 __attribute__((ext_vector_type(16)));
static inline ditqk_u32x16 ditqk_widen(const void *p) {
  return __builtin_convertvector(*(const ditqk_u16x16 *)p, ditqk_u32x16);
}

void ditqk_generic(ditqk_kernels *table);
#if defined(__x86_64__)
void ditqk_avx2(ditqk_kernels *table);   /* needs AVX2, FMA, F16C */
void ditqk_avx512(ditqk_kernels *table); /* needs AVX-512 F, DQ, BW, VL, VNNI */
#endif

#endif
