/*
 * What the fuzz targets share. Each sees ditq.h alone, and defines `static void fuzz(const uint8_t *data, size_t size)`; libFuzzer calls it with
 * bytes of its making. MODELS, a string, is Tests/fuzz/models. The caller's side is checked too: a call that fails has a sentence, and out
 * parameters as they were.
 */
#ifndef FUZZ_H
#define FUZZ_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ditq.h"

static ditq_error error;

/* Ends the process, which libFuzzer reports with the input, where a promise is broken. */
static inline void expect(int is_so, const char *what) {
  if (is_so) return;
  fprintf(stderr, "BROKEN PROMISE: %s (%s)\n", what, error.message);
  abort();
}

/* Whether a call succeeded. One that did not has filled the struct with its status and a sentence. */
static inline int ok(ditq_status status) {
  expect(status >= DITQ_OK && status < DITQ_INTERNAL, "a status of the header, and not a bug of its own");
  if (status == DITQ_OK) return 1;
  expect(error.status == status, "the error has the status of the call");
  size_t length = strnlen(error.message, sizeof error.message);
  expect(length > 0 && length < sizeof error.message, "the error has a sentence");
  return 0;
}

static inline void start(void) { error = (ditq_error)DITQ_ERROR_INIT; }

static inline unsigned char *contents(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file) perror(path), exit(2);
  unsigned char *bytes = malloc(1 << 20);
  *size = bytes ? fread(bytes, 1, 1 << 20, file) : 0;
  fclose(file);
  return bytes;
}

static inline ditq_model *open_model(const char *path, int32_t heads) {
  start();
  ditq_model *model = NULL;
  ditq_model_options options = {.struct_size = sizeof options, .head_count = heads};
  if (!ok(ditq_model_open(path, &options, &model, &error))) fprintf(stderr, "%s: %s\n", path, error.message), exit(2);
  return model;
}

/* Host memory of exactly so many elements, so that one read or written behind it is found. */
static inline float *values(size_t count) {
  float *made = malloc(count * sizeof *made);
  for (size_t i = 0; i < count; i++) made[i] = (float)(int8_t)(i * 37) / 64;
  return made;
}

/* What a session makes: a prediction, latents, pictures of latents and of noise. */
static inline void run(ditq_model *model, const ditq_model_info *info) {
  ditq_session_options options = {.struct_size = sizeof options, .threads = 1};
  ditq_session *session = NULL;
  if (!ok(ditq_session_create(model, &options, &session, &error))) return;
  ditq_generate_options generate;
  ditq_generate_options_init(&generate);
  generate.steps = 1;
  int32_t label = 0;
  uint64_t seed = 1;
  float timestep = 7;
  size_t count = (size_t)info->latent_channels * (size_t)info->latent_height * (size_t)info->latent_width;
  size_t pixel_count = (size_t)info->image_channels * (size_t)info->image_height * (size_t)info->image_width;
  float *latents = values(count), *predicted = values(2 * count);
  ok(ditq_predict(session, latents, &timestep, &label, 1, predicted, 2 * count * sizeof *predicted, &error));
  if (pixel_count && info->image_height <= 64) {
    uint8_t *pixels = malloc(pixel_count);
    ok(ditq_decode(session, latents, 1, pixels, pixel_count, &error));
    ok(ditq_generate(session, &label, &seed, 1, &generate, pixels, pixel_count, &error));
    free(pixels);
  } else ok(ditq_denoise(session, &label, &seed, 1, &generate, latents, count * sizeof *latents, &error));
  free(latents), free(predicted);
  ditq_session_destroy(session);
}

/* Everything that a model answers, and where that is small one step of it and of what it becomes in 8 bits, its decoder too. */
static inline void use(ditq_model *model) {
  start();
  ditq_model_info info = {.struct_size = sizeof info};
  expect(ok(ditq_model_describe(model, &info, &error)), "a model that was opened describes itself");
  size_t needed = 0, again = 0;
  expect(ok(ditq_model_describe_json(model, NULL, 0, &needed, &error)) && needed > 2, "and in JSON");
  char *text = malloc(needed);
  expect(ok(ditq_model_describe_json(model, text, needed, &again, &error)) && again == needed && strlen(text) + 1 == needed, "of the size it said");
  free(text);
  int32_t label = -1;
  const char *name = ditq_model_class_name(model, 0);
  if (name && *name && !strchr(name, ',')) ok(ditq_model_find_class(model, name, &label, &error));
  ditq_model_class_name(model, info.class_count);
  ok(ditq_model_verify(model, &error));

  ditq_session_options options = {.struct_size = sizeof options, .threads = 1};
  size_t size = 0;
  if (!ok(ditq_session_memory(model, &options, &size, &error)) || size > 16 << 20 || info.macs_per_forward > 4 << 20) return;
  run(model, &info);
  const ditq_layer_rule rule = {.struct_size = sizeof rule, .weight_bits = 8, .pattern = "vae.*"};
  ditq_quantize_options quantize;
  ditq_quantize_options_init(&quantize);
  quantize.threads = 1, quantize.weight_method = DITQ_WEIGHT_ROUND; /* second moments of a decoder take most of a second here */
  if (info.has_decoder) quantize.rules = &rule, quantize.rule_count = 1;
  ditq_model *quantized = NULL;
  if (!ok(ditq_quantize(model, &quantize, &quantized, &error))) return;
  run(quantized, &info);
  ditq_model_close(quantized);
}

/* Opens bytes as a file, from memory of exactly their size, and uses what opens. */
static inline void open_bytes(const uint8_t *bytes, size_t size, int32_t heads) {
  start();
  ditq_model *const untouched = (ditq_model *)&error, *model = untouched;
  ditq_model_options options = {.struct_size = sizeof options, .head_count = heads};
  if (ok(ditq_model_open_memory(bytes, size, &options, &model, &error))) {
    use(model);
    ditq_model_close(model);
  } else expect(model == untouched, "a call that fails leaves its out parameter alone");
}

/* The bytes of an input, read one after the other: zeros where it has ended. */
typedef struct input { const uint8_t *data; size_t size; } input;
static inline uint8_t next(input *from) { return from->size ? (from->size--, *from->data++) : 0; }
/* Up to a byte, which is left out; the rest where there is none. Freed by the caller. */
static inline char *next_text(input *from, char end) {
  const uint8_t *last = memchr(from->data, end, from->size);
  size_t length = last ? (size_t)(last - from->data) : from->size;
  char *text = malloc(length + 1);
  memcpy(text, from->data, length);
  text[length] = 0;
  from->data += length + (last != NULL), from->size -= length + (last != NULL);
  return text;
}

static void fuzz(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  fuzz(data, size);
  return 0;
}
#endif
