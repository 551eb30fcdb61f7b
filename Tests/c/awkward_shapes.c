/*
 * Products of matrices of awkward shapes, by each instruction set of this CPU and in each format: they must agree to the bit.
 * Prints the number of products and the 64-bit FNV-1a sum over all results of the generic set, which is the same on every CPU.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ditq.h"

enum { ROWS = 29, OUTPUTS = 70, INPUTS = 144 };
static float x[ROWS * INPUTS], weights[OUTPUTS * INPUTS], bias[OUTPUTS], expected[ROWS * OUTPUTS], found[ROWS * OUTPUTS];

static int fail(const char *message) {
  fprintf(stderr, "awkward_shapes: %s\n", message);
  exit(1);
}

/* −1 … 1 in steps of 2⁻²³, from a generator that is the same everywhere; or the ends of a range alone, whose sums are the largest. */
static void fill(float *values, size_t count, uint32_t seed, int is_extreme) {
  for (size_t i = 0; i < count; i++) {
    seed = seed * 1664525u + 1013904223u;
    values[i] = is_extreme ? (seed >> 31 ? 1.0f : -1.0f) : (float)((int32_t)(seed >> 8) - (1 << 23)) / (1 << 23);
  }
}

/* 0 where this CPU's architecture has no such set. */
static int multiply(size_t rows, int32_t inputs, int32_t outputs, ditq_linear_options options, float *y) {
  ditq_error error = DITQ_ERROR_INIT;
  ditq_linear *linear = NULL;
  const ditq_status status = ditq_linear_create(weights, bias, outputs, inputs, &options, &linear, &error);
  if (status == DITQ_UNSUPPORTED && options.isa_limit > DITQ_ISA_GENERIC) return 0;
  if (status != DITQ_OK) fail(error.message);
  if (ditq_linear_apply(linear, x, rows, y, 1, &error) != DITQ_OK) fail(error.message);
  ditq_linear_destroy(linear);
  return 1;
}

int main(void) {
  static const int32_t formats[][2] = {{8, 0}, {8, 16}, {8, 48}, {4, 0}, {4, 16}, {4, 48}, {DITQ_KEEP_FLOAT, 0}};
  static const size_t all_rows[] = {1, 2, 3, 4, 5, 6, 7, 11, 13, 29};
  static const int32_t all_inputs[] = {1, 3, 16, 33, 144}, all_outputs[] = {1, 31, 33, 70};
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  int count = 0;
  for (int is_extreme = 0; is_extreme < 2; is_extreme++) {
    fill(x, ROWS * INPUTS, 1, is_extreme), fill(weights, OUTPUTS * INPUTS, 2, is_extreme), fill(bias, OUTPUTS, 3, 0);
    for (size_t f = 0; f < sizeof formats / sizeof *formats; f++)
      for (size_t r = 0; r < sizeof all_rows / sizeof *all_rows; r++)
        for (size_t i = 0; i < sizeof all_inputs / sizeof *all_inputs; i++)
          for (size_t o = 0; o < sizeof all_outputs / sizeof *all_outputs; o++) {
            const size_t rows = all_rows[r], size = rows * (size_t)all_outputs[o] * sizeof(float);
            ditq_linear_options options = {.struct_size = sizeof options, .weight_bits = formats[f][0], .weight_group = formats[f][1]};
            for (options.isa_limit = DITQ_ISA_GENERIC; options.isa_limit <= DITQ_ISA_NEON_I8MM; options.isa_limit++) {
              const int is_first = options.isa_limit == DITQ_ISA_GENERIC;
              memset(found, 0xa5, sizeof found);
              if (!multiply(rows, all_inputs[i], all_outputs[o], options, is_first ? expected : found)) continue;
              count++;
              if (is_first || memcmp(expected, found, size) == 0) continue;
              fprintf(stderr, "%zu rows, %" PRId32 " inputs, %" PRId32 " outputs, %" PRId32 " bits in groups of %" PRId32 ": set %" PRId32 " differs\n", rows,
                      all_inputs[i], all_outputs[o], options.weight_bits, options.weight_group, options.isa_limit);
              return 1;
            }
            for (size_t byte = 0; byte < size; byte++) sum = (sum ^ ((const uint8_t *)expected)[byte]) * UINT64_C(0x100000001b3);
          }
  }
  printf("%d products, sum %016" PRIx64 "\n", count, sum);
  return 0;
}
