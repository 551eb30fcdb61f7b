/*
 * The innermost loops, as the rest of the library sees them: one table of functions an instruction set. A kernel checks nothing; its callers
 * in Sources/DitqCore/Compute have. Every table computes the same numbers to the bit: see Sources/KernelMath.
 *
 * Layouts
 *   tile   [depth][rows]  up to tile_rows rows of the left matrix, transposed; tile i of a packed matrix starts at i · tile_rows · depth
 *   panel  [depth][32]    32 outputs of the right matrix, transposed, zeros where the matrix has fewer
 * Of 8-bit numbers a panel is [depth / 4][32][4] in every set, because files hold it; the left matrix is as the set has it: ditqk_tile_layout.
 */
#ifndef DITQ_CKERNELS_H
#define DITQ_CKERNELS_H

#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

enum { DITQK_PANEL_COLUMNS = 32, DITQK_LARGEST_TILE_ROWS = 14, DITQK_MOST_LAYOUT_ROWS = 32 };

#if defined(__clang__)
#define DITQK_SWIFT_NAME(name) __attribute__((swift_name(name)))
#else
#define DITQK_SWIFT_NAME(name)
#endif

/*
 * Where the 8-bit numbers of the left matrix stand, which nothing but the functions below knows. Rows go into tiles, one tile after the other, the last one
 * with the rows that are left; in a tile, so many inputs of each row in turn: [⌈depth / step⌉][rows][step].
 */
typedef struct DITQK_SWIFT_NAME("TileLayout") ditqk_tile_layout {
  int32_t rows;           /* of a whole tile, at most DITQK_MOST_LAYOUT_ROWS */
  int32_t step;           /* 4, 16, 32 or 64 */
  int32_t depth_multiple; /* rows are made so deep, a multiple of 8 and of step; what stands past their own depth is anything, and meets no weight but 0 */
  uint8_t sign;           /* numbers are stored exclusive-or this: 0, or 0x80 for numbers less 128 */
} ditqk_tile_layout;

/* Bytes that a row of some depth takes. */
DITQK_SWIFT_NAME("TileLayout.rowSize(self:depth:)")
static inline intptr_t ditqk_row_size(ditqk_tile_layout layout, intptr_t depth) {
  return (intptr_t)(((uintptr_t)depth + (uintptr_t)layout.depth_multiple - 1) / (uintptr_t)layout.depth_multiple) * layout.depth_multiple;
}
/* Where the tile begins whose first row is number `row` of the matrix. */
DITQK_SWIFT_NAME("TileLayout.start(self:ofTileAt:depth:)")
static inline intptr_t ditqk_tile_start(ditqk_tile_layout layout, intptr_t row, intptr_t depth) { return row * ditqk_row_size(layout, depth); }
/* Where an input of a row stands in a tile of so many rows, and where the next sixteen inputs stand behind those that begin with `input`, a multiple of 16. */
DITQK_SWIFT_NAME("TileLayout.place(self:row:input:rows:)")
static inline intptr_t ditqk_place(ditqk_tile_layout layout, intptr_t row, intptr_t input, intptr_t rows) {
  uintptr_t step = (uintptr_t)layout.step, whole = (uintptr_t)input / step;
  return ((intptr_t)whole * rows + row) * layout.step + (intptr_t)((uintptr_t)input % step);
}
DITQK_SWIFT_NAME("TileLayout.advance(self:from:rows:)")
static inline intptr_t ditqk_advance(ditqk_tile_layout layout, intptr_t input, intptr_t rows) {
  return ditqk_place(layout, 0, input + 16, rows) - ditqk_place(layout, 0, input, rows);
}

/* Where a GEMM's sums go, and what happens to them on the way. */
typedef struct ditqk_output {
  float *values;             /* row r at values + r · stride; or NULL, and they are quantized: */
  uint8_t *tiles;            /* the left matrix of a GEMM to come, at its first row */
  const float *next_scales;  /* [rows] */
  const float *next_zeros;   /* [rows] */
  intptr_t next_row_size;    /* bytes of each */
  intptr_t first_column;     /* of these columns in it */
  const float *bias;         /* [columns] added to each row, or NULL */
  const float *factors;      /* [columns] multiplied with each row after GELU, or NULL */
  const float *gate;         /* with accumulate: output += gate · value, row r using row (first_row + r) / rows_per_gate of gates; or NULL */
  intptr_t rows, columns, stride;
  intptr_t gate_stride, rows_per_gate, first_row;
  float *extremes;           /* or NULL: [rows][extremes_stride], of which 16 become the least values of the row that were seen and 16 the greatest */
  intptr_t extremes_stride;
  int32_t gelu;              /* 1: value = GELU(value), the tanh form */
  int32_t accumulate;        /* 1: output += value */
} ditqk_output;

/* output = epilogue(tiles · panels) of floats: each sum is one chain of fused multiply-adds over depth, from 0 upwards. */
typedef struct ditqk_gemm {
  const float *tiles;
  const float *panels;
  intptr_t depth;
  intptr_t panel_stride;     /* floats from one panel to the next */
  ditqk_output output;
} ditqk_gemm;

/*
 * Panels of integers: output = epilogue(row scale · (Σ over groups: scale · Σ q·p  −  row zero · weight sum)), the inner sum exact.
 *   tiles  of q, 0 … 255, as the set's layout has them;  panel  [depth / 4][32][4] of p, −127 … 127, of 4-bit weights −15 … 15
 * Of several panels the numbers, scales and weight sums stand one after the other; each tile is multiplied with all of them in turn.
 */
typedef struct ditqk_gemm_u8 {
  const uint8_t *tiles;
  const int8_t *panel;       /* or NULL: 4-bit numbers that are expanded a group at a time, for one tile */
  const uint8_t *nibbles;    /* as expand_panel takes them, with their zeros [groups][32] */
  const uint8_t *zeros;
  void *room;                /* for such a group, [group][32], or what a set makes of a tile: see ditqk_room */
  intptr_t panels;           /* more than 1 only of 8 bits */
  int32_t bits;              /* of a weight: 8 or 4 */
  const float *scales;       /* [panels][groups][32] */
  const float *weight_sums;  /* [panels][32]: Σ over groups of scale · Σ p */
  const float *row_scales;   /* [rows] */
  const float *row_zeros;    /* [rows]: zero points, 0 … 255 */
  intptr_t depth, group;     /* multiples of 4; the last group may be shorter */
  const void *next;          /* bytes that will be read next, to be asked for meanwhile, or NULL */
  intptr_t next_size;
  ditqk_output output;       /* of at most 32 · panels columns */
} ditqk_gemm_u8;

/* Bytes of room for rows so deep. */
static inline intptr_t ditqk_room(intptr_t depth) { return depth * DITQK_PANEL_COLUMNS; }

/*
 * Some pixels of an image row through one panel of a convolution of floats: output = or += sums over taps and channels + bias, as in ditqk_gemm. The pixels
 * under the kernel are packed once for all taps:
 *   pixels  [inputs][positions]  neighbouring positions are neighbouring pixels
 *   panel   [size · size · inputs][32]  taps by rows
 * Up to tile_rows positions past the last may be read; their sums go nowhere.
 */
typedef struct ditqk_convolution {
  const float *pixels;       /* under the first tap of the first pixel */
  const float *panel;
  intptr_t inputs;
  intptr_t positions;        /* from a channel to the next */
  intptr_t row;              /* positions from a row of taps to the next */
  intptr_t size;             /* taps in each direction */
  const float *bias;         /* [columns] */
  float *output;             /* pixel r at output + r · stride */
  intptr_t rows, columns, stride;
  int32_t accumulate;        /* 1: output += */
} ditqk_convolution;

/*
 * A block of a convolution of 3×3 on integers through one panel, two by two outputs at a time (Winograd's F(2×2, 3×3), Lavin and Gray 2015), exact: sums
 * wrap, and what they come to in the end fits 32 bits. A word is two 16-bit numbers: of channels 4k and 4k + 2 in step 2k, of 4k + 1 and 4k + 3 in the next.
 *   pixels  [steps][2 · down + 2][2][half]  words; of a row the even positions, then the odd ones, across + 1 of each, and up to 16 more may be read
 *   tiles   [16][plane]         words: the transformed pixels [steps][pitch]; pitch is at least down · across + 16
 *   panel   [16][steps + 1][32] words: the transformed taps, times 4; a step more, because planes a power of 2 apart would fall into the same lines of a cache
 *   sums    [16][down · across + 14][32]
 */
typedef struct ditqk_winograd {
  const void *pixels;
  void *tiles;
  const void *panel;
  int32_t *sums;
  intptr_t steps, half, down, across, pitch, plane;
  uint32_t positions;        /* bit p: position p is not 0 everywhere */
  float scale;               /* of the pixels */
  const float *scales;       /* [32] of the taps */
  const float *bias;         /* [columns] */
  float *output;             /* pixel (y, x) at output + y · line + x · stride */
  intptr_t rows, width;      /* pixels of the output that count */
  intptr_t columns, line, stride;
  int32_t accumulate;        /* 1: output += */
} ditqk_winograd;

/* How the numbers of a stored matrix are written. */
enum { DITQK_F32 = 0, DITQK_F16 = 1, DITQK_BF16 = 2 };

/* 1 where there are kernels of the VAE decoder, from convolve to quantize_words and from column_moments on. A machine without a system, where code is
   counted, has NULL in their place and refuses models with a decoder. */
static inline int ditqk_decodes(void) {
#if defined(DITQ_BARE)
  return 0;
#else
  return 1;
#endif
}

typedef struct ditqk_kernels {
  int32_t tile_rows;         /* of floats */
  int32_t panels_together;   /* how many panels of 8-bit numbers gemm_u8 likes to have at once */
  ditqk_tile_layout layout;  /* of 8-bit numbers */
  void (*gemm)(const ditqk_gemm *arguments);
  void (*gemm_u8)(const ditqk_gemm_u8 *arguments);
  /* The same panel times a tile [inputs][rows] of floats, inputs a multiple of 4 and rows at most tile_rows: output = epilogue(tile · (scale · p)),
     each sum a chain as in gemm. The arguments' tiles, weight_sums and row parameters are not read. Weights come straight from memory: this is for few
     rows. NULL where a set has none, and weights are turned to floats beforehand. */
  void (*gemm_weight_only)(const float *tile, intptr_t inputs, const ditqk_gemm_u8 *arguments);
  void (*convolve)(const ditqk_convolution *arguments);
  /* The three parts of a block: pixels to tiles, tiles · panel to sums, sums to the output. */
  void (*winograd_tiles)(const ditqk_winograd *arguments);
  void (*winograd_sums)(const ditqk_winograd *arguments);
  void (*winograd_output)(const ditqk_winograd *arguments);
  /* The taps [9][channels / 4][32][4] of one panel of 8-bit numbers as a panel [16][channels / 2 + 1][32] of words. */
  void (*winograd_taps)(const int8_t *numbers, intptr_t channels, void *panel);
  /* Four rows of depth floats, a multiple of 4, by one scale to signed integers, [depth / 2][stride] words of which it fills four. */
  void (*quantize_words)(const float *const *rows, intptr_t depth, float scale, void *words, intptr_t stride);
  /* The ranges of one to four rows, 0 included: x ≈ scale · (q − zero) with q from 0 to 255; signed ones have 0 in the middle, at 128, and max |x| at 255. */
  void (*row_ranges)(const float *const *rows, intptr_t count, intptr_t depth, float *scales, float *zeros, int32_t is_signed);
  /* max |x| */
  float (*row_magnitude)(const float *x, intptr_t depth);
  /* One to four rows, or of longer ones a part that begins at a multiple of `step`, to 8 bits by a scale and a zero point each, into their place in a tile of
     so many rows; what stands past depth is met by weights of 0. */
  void (*quantize_rows)(const float *const *rows, intptr_t count, intptr_t depth, const float *scales, const float *zeros, uint8_t *place,
                        intptr_t tile_rows);
  /* One to four rows by scales and zero points as row_ranges makes signed ones: columns `first` on of a panel [⌈depth / 8⌉ · 2][32][4]. */
  void (*quantize_keys)(const float *const *rows, intptr_t count, intptr_t depth, const float *scales, const float *zeros, intptr_t first,
                        int8_t *panel);
  /* A panel [⌈depth / 8⌉ · 2][32][4] from a matrix [depth][≥ count] of floats that is transposed already, each column by its own scale max |x| / 127. */
  void (*quantize_columns)(const float *source, intptr_t stride, intptr_t count, intptr_t depth, int8_t *panel, float *scales);
  /* One or two rows to exp(factor · (x − max x)) in steps of 1/255, into their place in a tile as quantize_rows fills it, and the scales that make
     softmax of that. */
  void (*softmax_rows)(const float *const *rows, intptr_t count, intptr_t depth, float factor, float *scales, uint8_t *place, intptr_t tile_rows);
  /* The scale and zero point of some weights, of `clips` ranges the one of least error, the first of equals: the range of the values, 0 included, times
     1, 0.99, 0.98 … Levels from low, 0 where there is a zero point, to high; the error is that of KernelMath/Weights.swift. All zeros: scale 0. Here and
     below zeros follow up to a multiple of 16. */
  void (*fit_weights)(const float *x, intptr_t count, float low, float high, intptr_t clips, float *scale, float *zero);
  /* p = clamp(round(x / scale), lowest, highest) of `depth` weights, a multiple of 8, to their places in a column of a panel: in 8 bits, or as nibbles
     p + offset where `halved`. Returns Σ p. */
  float (*quantize_weights)(const float *x, intptr_t depth, float scale, float lowest, float highest, float offset, int32_t halved, void *place);
  /* A panel of 4-bit weights to 8 bits: nibbles [depth / 8][32 · 4], low ones of the first four of eight inputs, high ones of the others; each
     less its zero [groups][32]. depth and group are multiples of 8. */
  void (*expand_panel)(const uint8_t *nibbles, const uint8_t *zeros, intptr_t depth, intptr_t group, int8_t *panel);
  /* panel [depth][32] of floats from 8-bit numbers [depth / 4][32][4] and scales [groups][32]. */
  void (*dequantize_panel)(const int8_t *numbers, const float *scales, intptr_t depth, intptr_t group, float *panel);
  /* tile [depth][stride], of which it fills the first `count`, from `count` rows of depth floats. */
  void (*pack_rows)(const float *const *rows, intptr_t count, intptr_t depth, float *tile, intptr_t stride);
  /* panel [depth][32] from `count` rows of depth numbers of a stored type at any alignment. */
  void (*pack_panel)(const void *const *rows, intptr_t count, int32_t type, intptr_t depth, float *panel);
  /* panel [depth][32] from a matrix [depth][≥ count] that is transposed already. */
  void (*copy_panel)(const float *source, intptr_t stride, intptr_t count, intptr_t depth, float *panel);
  /* numbers of a stored type as floats */
  void (*convert)(const void *source, int32_t type, intptr_t count, float *output);
  /* output [count][depth] = (x − mean) / √(variance + epsilon) · (1 + scale) + shift, over each of one or two rows */
  void (*modulate)(const float *const *rows, intptr_t count, const float *shift, const float *scale, float epsilon, intptr_t depth, float *output);
  /* row = softmax(factor · row) in place */
  void (*softmax)(float *row, float factor, intptr_t count);
  /* output = x / (1 + exp(−x)); the two may be the same */
  void (*silu)(const float *x, intptr_t count, float *output);
  /* sums [columns] = Σ over rows of x − shift, squares of (x − shift)², rows so many floats apart; added to what is there where `adds`. */
  void (*column_moments)(const float *x, intptr_t rows, intptr_t columns, intptr_t stride, const float *shift, int32_t adds, float *sums, float *squares);
  /* output = (x − mean) · factor + offset for [rows][columns], then SiLU where asked */
  void (*normalize)(const float *x, intptr_t rows, intptr_t columns, const float *mean, const float *factor, const float *offset, int32_t silu,
                    float *output);
} ditqk_kernels;

/* Sixteen 16-bit numbers at any alignment as 32-bit ones. In C, because SIMD16(truncatingIfNeeded:) is not inlined. */
typedef uint16_t ditqk_u16x16 __attribute__((ext_vector_type(16), aligned(1))); /* a file may place its tensors at odd bytes */
typedef uint32_t ditqk_u32x16 __attribute__((ext_vector_type(16)));
typedef uint32_t ditqk_u32x8 __attribute__((ext_vector_type(8)));
static inline ditqk_u32x16 ditqk_widen(const void *p) {
  return __builtin_convertvector(*(const ditqk_u16x16 *)p, ditqk_u32x16);
}

/* Integers to the nearest floats; SIMD16<Float>(SIMD16<Int32>) is not inlined either. */
typedef int32_t ditqk_i32x16 __attribute__((ext_vector_type(16)));
typedef int32_t ditqk_i32x8 __attribute__((ext_vector_type(8)));
typedef float ditqk_f32x16 __attribute__((ext_vector_type(16)));
typedef float ditqk_f32x8 __attribute__((ext_vector_type(8)));
static inline ditqk_f32x16 ditqk_floats(ditqk_i32x16 x) { return __builtin_convertvector(x, ditqk_f32x16); }
static inline ditqk_f32x8 ditqk_floats8(ditqk_i32x8 x) { return __builtin_convertvector(x, ditqk_f32x8); }

/* The first `count` of sixteen floats, the others `rest`; and storing the first `count`. */
#if defined(__AVX512F__)
static inline ditqk_f32x16 ditqk_load_some(const float *p, intptr_t count, float rest) {
  return (ditqk_f32x16)_mm512_mask_loadu_ps(_mm512_set1_ps(rest), (__mmask16)((1u << count) - 1), p);
}
static inline void ditqk_store_some(ditqk_f32x16 x, intptr_t count, float *p) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), (__m512)x); }
#elif defined(__AVX2__)
static inline __m256i ditqk_first(intptr_t count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
static inline ditqk_f32x16 ditqk_load_some(const float *p, intptr_t count, float rest) {
  __m256i low = ditqk_first(count), high = ditqk_first(count - 8);
  __m256 others = _mm256_set1_ps(rest);
  ditqk_f32x16 x;
  x.lo = (ditqk_f32x8)_mm256_blendv_ps(others, _mm256_maskload_ps(p, low), (__m256)low);
  x.hi = (ditqk_f32x8)_mm256_blendv_ps(others, _mm256_maskload_ps(p + 8, high), (__m256)high);
  return x;
}
static inline void ditqk_store_some(ditqk_f32x16 x, intptr_t count, float *p) {
  _mm256_maskstore_ps(p, ditqk_first(count), (__m256)x.lo);
  _mm256_maskstore_ps(p + 8, ditqk_first(count - 8), (__m256)x.hi);
}
#else
static inline ditqk_f32x16 ditqk_load_some(const float *p, intptr_t count, float rest) {
  ditqk_f32x16 x = rest;
  for (intptr_t i = 0; i < count; i++) x[i] = p[i];
  return x;
}
static inline void ditqk_store_some(ditqk_f32x16 x, intptr_t count, float *p) {
  for (intptr_t i = 0; i < count; i++) p[i] = x[i];
}
#endif

/* The largest of sixteen floats, none of them NaN. With instructions of its own, since the compiler takes comparisons of parts apart. */
static inline float ditqk_largest(ditqk_f32x16 x) {
#if defined(__AVX2__)
  __m256 eight = _mm256_max_ps((__m256)x.lo, (__m256)x.hi);
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
#else
  float largest = x[0];
  for (int i = 1; i < 16; i++) largest = largest < x[i] ? x[i] : largest;
  return largest;
#endif
}

/* The largest of each of four. */
typedef float ditqk_f32x4 __attribute__((ext_vector_type(4)));
static inline ditqk_f32x4 ditqk_largest_of_four(ditqk_f32x16 a, ditqk_f32x16 b, ditqk_f32x16 c, ditqk_f32x16 d) {
#if defined(__AVX2__)
  __m256 first = _mm256_max_ps((__m256)a.lo, (__m256)a.hi), second = _mm256_max_ps((__m256)b.lo, (__m256)b.hi);
  __m256 third = _mm256_max_ps((__m256)c.lo, (__m256)c.hi), fourth = _mm256_max_ps((__m256)d.lo, (__m256)d.hi);
  __m256d left = (__m256d)_mm256_max_ps(_mm256_unpacklo_ps(first, second), _mm256_unpackhi_ps(first, second));
  __m256d right = (__m256d)_mm256_max_ps(_mm256_unpacklo_ps(third, fourth), _mm256_unpackhi_ps(third, fourth));
  __m256 all = _mm256_max_ps((__m256)_mm256_unpacklo_pd(left, right), (__m256)_mm256_unpackhi_pd(left, right));
  return (ditqk_f32x4)_mm_max_ps(_mm256_castps256_ps128(all), _mm256_extractf128_ps(all, 1));
#else
  ditqk_f32x4 largest = {a[0], b[0], c[0], d[0]};
  for (int i = 1; i < 16; i++) {
    ditqk_f32x4 x = {a[i], b[i], c[i], d[i]};
    largest = largest < x ? x : largest;
  }
  return largest;
#endif
}

/* The sum of sixteen floats, by halves. In C, because Swift takes halves number by number. */
typedef float ditqk_f32x2 __attribute__((ext_vector_type(2)));
static inline float ditqk_total(ditqk_f32x16 x) {
  ditqk_f32x8 eight = x.lo + x.hi;
  ditqk_f32x4 four = eight.lo + eight.hi;
  ditqk_f32x2 two = four.lo + four.hi;
  return two[0] + two[1];
}

/* Sixteen bytes, each four times. */
typedef uint8_t ditqk_u8x16 __attribute__((ext_vector_type(16)));
static inline ditqk_u32x16 ditqk_four_times(const uint8_t *p) {
  ditqk_u8x16 bytes;
  __builtin_memcpy(&bytes, p, 16);
  return __builtin_convertvector(bytes, ditqk_u32x16) * 0x01010101u;
}

/* The low bytes of sixteen integers. */
static inline ditqk_u8x16 ditqk_narrow(ditqk_i32x16 x) { return __builtin_convertvector(x, ditqk_u8x16); }

/* x − a · b, rounded once. In C, where the sign becomes part of the instruction. */
static inline ditqk_f32x16 ditqk_less_product(ditqk_f32x16 x, ditqk_f32x16 a, ditqk_f32x16 b) { return __builtin_elementwise_fma(-a, b, x); }
static inline ditqk_f32x8 ditqk_less_product8(ditqk_f32x8 x, ditqk_f32x8 a, ditqk_f32x8 b) { return __builtin_elementwise_fma(-a, b, x); }

/* Sixteen numbers of each of four rows, rounded and clamped to 0 ... 255, NaN to 0, as the rows' words: word 4k + r of the result is word k of row r. */
#if defined(__AVX512BW__)
static inline __m512i ditqk_rounded(__m512 x) { return _mm512_cvtps_epi32(_mm512_min_ps(_mm512_set1_ps(255), x)); }
static inline ditqk_u32x16 ditqk_rounded_words(ditqk_f32x16 a, ditqk_f32x16 b, ditqk_f32x16 c, ditqk_f32x16 d) {
  return (ditqk_u32x16)_mm512_packus_epi16(_mm512_packs_epi32(ditqk_rounded((__m512)a), ditqk_rounded((__m512)b)),
                                           _mm512_packs_epi32(ditqk_rounded((__m512)c), ditqk_rounded((__m512)d)));
}
#elif defined(__AVX2__)
static inline __m256i ditqk_rounded(__m256 x) { return _mm256_cvtps_epi32(_mm256_min_ps(_mm256_set1_ps(255), x)); }
static inline ditqk_u32x16 ditqk_rounded_words(ditqk_f32x16 a, ditqk_f32x16 b, ditqk_f32x16 c, ditqk_f32x16 d) {
  ditqk_u32x16 words;
  words.lo = (ditqk_u32x8)_mm256_packus_epi16(_mm256_packs_epi32(ditqk_rounded((__m256)a.lo), ditqk_rounded((__m256)b.lo)),
                                              _mm256_packs_epi32(ditqk_rounded((__m256)c.lo), ditqk_rounded((__m256)d.lo)));
  words.hi = (ditqk_u32x8)_mm256_packus_epi16(_mm256_packs_epi32(ditqk_rounded((__m256)a.hi), ditqk_rounded((__m256)b.hi)),
                                              _mm256_packs_epi32(ditqk_rounded((__m256)c.hi), ditqk_rounded((__m256)d.hi)));
  return words;
}
#else
static inline ditqk_u32x16 ditqk_rounded_words(ditqk_f32x16 a, ditqk_f32x16 b, ditqk_f32x16 c, ditqk_f32x16 d) {
  const ditqk_f32x16 rows[4] = {a, b, c, d};
  ditqk_u8x16 bytes[4];
  for (int i = 0; i < 4; i++) {
    ditqk_f32x16 positive = rows[i] > 0 ? rows[i] : 0, clamped = positive > 255 ? 255 : positive;
    /* 1.5 * 2^23: what is added to it is rounded to an integer, in the low bits. */
    bytes[i] = __builtin_convertvector((ditqk_i32x16)(clamped + 12582912), ditqk_u8x16);
  }
  ditqk_u32x16 words;
  __builtin_memcpy(&words, bytes, sizeof words);
  return __builtin_shufflevector(words, words, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
}
#endif

/* Such words, exclusive-or a mask, of the first `rows` of four rows, one to four, into a tile with a step of 4, steps so many bytes apart: of `count` inputs,
   rounded up to a multiple of eight. */
typedef uint32_t ditqk_u32x4 __attribute__((ext_vector_type(4)));
static inline void ditqk_put_words(ditqk_u32x16 words, uint32_t mask, intptr_t rows, intptr_t count, void *place, intptr_t apart) {
  words ^= mask;
  const ditqk_u32x4 steps[4] = {words.lo.lo, words.lo.hi, words.hi.lo, words.hi.hi};
  char *target = (char *)place;
  for (int i = 0; i < (count > 8 ? 4 : 2); i++, target += apart) {
    switch (rows) {
      case 4: __builtin_memcpy(target, &steps[i], 16); break;
      case 3: __builtin_memcpy(target, &steps[i], 12); break;
      case 2: __builtin_memcpy(target, &steps[i], 8); break;
      default: __builtin_memcpy(target, &steps[i], 4);
    }
  }
}

/* The same where sixteen inputs of a row stand together, rows so many bytes apart. */
static inline void ditqk_put_pieces(ditqk_u32x16 words, uint32_t mask, intptr_t rows, void *place, intptr_t apart) {
  words = __builtin_shufflevector(words, words, 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15) ^ mask;
  for (intptr_t row = 0; row < rows; row++) __builtin_memcpy((char *)place + row * apart, (const char *)&words + 16 * row, 16);
}

/* Of each quarter of two vectors, the lower or upper halves, interleaved by floats or by pairs: what a transposition of four rows is made of. */
static inline ditqk_f32x16 ditqk_low_floats(ditqk_f32x16 x, ditqk_f32x16 y) {
  return __builtin_shufflevector(x, y, 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29);
}
static inline ditqk_f32x16 ditqk_high_floats(ditqk_f32x16 x, ditqk_f32x16 y) {
  return __builtin_shufflevector(x, y, 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31);
}
static inline ditqk_f32x16 ditqk_low_pairs(ditqk_f32x16 x, ditqk_f32x16 y) {
  return __builtin_shufflevector(x, y, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
}
static inline ditqk_f32x16 ditqk_high_pairs(ditqk_f32x16 x, ditqk_f32x16 y) {
  return __builtin_shufflevector(x, y, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
}

/* Asks for a line of memory that will be read, so that nothing waits for it then. */
static inline void ditqk_prefetch_read(const void *p) { __builtin_prefetch(p, 0); }
/* The same for one that will be read later, into the second-level cache. */
static inline void ditqk_prefetch_later(const void *p) { __builtin_prefetch(p, 0, 2); }
/* The same for one that will be written. */
static inline void ditqk_prefetch_write(const void *p) { __builtin_prefetch(p, 1); }

/* Sixteen sums of four products of unsigned `a` (repeated) and signed bytes, exact in 32 bits. */
typedef int16_t ditqk_i16x16 __attribute__((ext_vector_type(16)));
#if defined(__AVX512VNNI__)
static inline ditqk_i32x16 ditqk_dot(ditqk_i32x16 sums, uint32_t a, ditqk_i32x16 b) {
  return (ditqk_i32x16)_mm512_dpbusd_epi32((__m512i)sums, _mm512_set1_epi32((int)a), (__m512i)b);
}
#endif
/* Sums of two products of 16-bit numbers each, modulo 2³². */
static inline ditqk_i32x16 ditqk_dot_words(ditqk_i32x16 sums, uint32_t a, ditqk_i32x16 b) {
#if defined(__AVX512VNNI__)
  return (ditqk_i32x16)_mm512_dpwssd_epi32((__m512i)sums, _mm512_set1_epi32((int)a), (__m512i)b);
#elif defined(__AVX2__)
  __m256i repeated = _mm256_set1_epi32((int)a);
  ditqk_i32x16 result;
  result.lo = (ditqk_i32x8)_mm256_add_epi32((__m256i)sums.lo, _mm256_madd_epi16(repeated, (__m256i)b.lo));
  result.hi = (ditqk_i32x8)_mm256_add_epi32((__m256i)sums.hi, _mm256_madd_epi16(repeated, (__m256i)b.hi));
  return result;
#else
  ditqk_u32x16 low = (ditqk_u32x16)((b << 16) >> 16), high = (ditqk_u32x16)(b >> 16);
  return (ditqk_i32x16)((ditqk_u32x16)sums + low * (uint32_t)(int32_t)(int16_t)a + high * (uint32_t)((int32_t)a >> 16));
#endif
}
#if defined(__AVX2__)
/* Sixteen signed or unsigned bytes as 16-bit numbers, four of those repeated, and sums of pairs of products. vpmaddubsw would saturate. */
static inline ditqk_i16x16 ditqk_widen_signed(const void *p) {
  return (ditqk_i16x16)_mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)p));
}
static inline ditqk_i16x16 ditqk_widen_unsigned(const void *p) {
  return (ditqk_i16x16)_mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)p));
}
static inline ditqk_i16x16 ditqk_repeated(uint64_t words) { return (ditqk_i16x16)_mm256_set1_epi64x((long long)words); }
static inline ditqk_i32x8 ditqk_multiply_pairs(ditqk_i16x16 a, ditqk_i16x16 b) { return (ditqk_i32x8)_mm256_madd_epi16((__m256i)a, (__m256i)b); }
/* Sums of pairs of products of four unsigned bytes, repeated, with signed ones of at most 64, which do not saturate; and sums of such pairs. */
static inline ditqk_i16x16 ditqk_multiply_small(uint32_t a, ditqk_i32x8 b) {
  return (ditqk_i16x16)_mm256_maddubs_epi16(_mm256_set1_epi32((int)a), (__m256i)b);
}
static inline ditqk_i32x8 ditqk_add_pairs(ditqk_i16x16 x) { return (ditqk_i32x8)_mm256_madd_epi16((__m256i)x, _mm256_set1_epi16(1)); }
#endif

/* Four sums of four products of a byte vector with `a` repeated: signed with signed ones, or signed with unsigned. */
typedef int32_t ditqk_i32x4 __attribute__((ext_vector_type(4)));
typedef int8_t ditqk_i8x16 __attribute__((ext_vector_type(16)));
#if defined(__ARM_FEATURE_DOTPROD)
static inline ditqk_i32x4 ditqk_dot_signed(ditqk_i32x4 sums, uint32_t a, ditqk_i8x16 b) {
  return (ditqk_i32x4)vdotq_s32((int32x4_t)sums, vreinterpretq_s8_u32(vdupq_n_u32(a)), (int8x16_t)b);
}
#endif
#if defined(__ARM_FEATURE_MATMUL_INT8)
static inline ditqk_i32x4 ditqk_dot_unsigned(ditqk_i32x4 sums, uint32_t a, ditqk_i8x16 b) {
  return (ditqk_i32x4)vusdotq_s32((int32x4_t)sums, vreinterpretq_u8_u32(vdupq_n_u32(a)), (int8x16_t)b);
}
#endif

void ditqk_generic(ditqk_kernels *table);
#if defined(__x86_64__)
void ditqk_avx2(ditqk_kernels *table);   /* needs AVX2, FMA */
void ditqk_avx512(ditqk_kernels *table); /* needs AVX-512 F, DQ, BW, VL, VNNI */
#elif defined(__aarch64__)
void ditqk_neon(ditqk_kernels *table); /* needs the dot product of Armv8.2 */
void ditqk_i8mm(ditqk_kernels *table); /* and the 8-bit matrix multiplication of Armv8.6 */
#endif

#endif
