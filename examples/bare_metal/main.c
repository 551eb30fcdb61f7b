/*
 * A picture on a machine without a system: the model is linked in as bytes, memory is one static buffer, and once the session stands nothing is
 * allocated. Over the serial port come the checksum of the pixels, what was used, and the picture as a PNG file in base64.
 */
#include "machine.h"

#ifndef STEPS
#define STEPS 50
#endif
enum { LABEL = 0, SEED = 7, SIDE = 32 };

extern const uint8_t model_start[], model_end[]; /* aarch64.S, riscv64.S */

static void say(const char *text) {
  while (*text) put_byte(*text++);
}

static void say_number(const char *name, uint64_t value, unsigned base) {
  char digits[24], *p = digits + sizeof digits;
  *--p = '\0';
  do *--p = "0123456789abcdef"[value % base];
  while (value /= base);
  say(name), say(": "), say(p), say("\n");
}

static void say_base64(const uint8_t *bytes, size_t size) {
  static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < size; i += 3) {
    const uint32_t three = (uint32_t)bytes[i] << 16 | (i + 1 < size ? bytes[i + 1] << 8 : 0) | (i + 2 < size ? bytes[i + 2] : 0);
    for (size_t k = 0; k < 4; k++) put_byte(i + k <= size ? letters[three >> (18 - 6 * k) & 63] : '=');
    if (i % 57 == 54) put_byte('\n');
  }
  put_byte('\n');
}

static uint64_t fnv1a(const uint8_t *bytes, size_t size) {
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
  return sum;
}

static ditq_status draw(uint8_t *pixels, size_t size, ditq_error *error) {
  ditq_model *model = NULL;
  ditq_session *session = NULL;
  const ditq_model_options model_options = {.struct_size = sizeof model_options, .allocator = arena()};
  const ditq_session_options session_options = {.struct_size = sizeof session_options, .threads = 1, .allocator = arena()};
  ditq_generate_options options = {.struct_size = sizeof options};
  ditq_status status = ditq_model_open_memory(model_start, (size_t)(model_end - model_start), &model_options, &model, error);
  if (status == DITQ_OK) status = ditq_session_create(model, &session_options, &session, error);
  seal_memory();
  if (status != DITQ_OK) return status;
  ditq_generate_options_init(&options);
  options.steps = STEPS;
  const int32_t label = LABEL;
  const uint64_t seed = SEED;
  return ditq_generate(session, &label, &seed, 1, &options, pixels, size, error);
}

int main(void) {
  static uint8_t pixels[SIDE * SIDE * 3], file[SIDE * (SIDE * 3 + 6) + 100];
  static ditq_error error = DITQ_ERROR_INIT;
  say("libditq "), say(ditq_version()), say(" on "), say(MACHINE), say("\n");
  if (draw(pixels, sizeof pixels, &error) != DITQ_OK) {
    say("FAILED: "), say(error.message), say("\n");
    return 1;
  }
  say_number("sum", fnv1a(pixels, sizeof pixels), 16);
  say_number("arena used", arena_used(), 10);
  say_number("arena size", arena_size(), 10);
  say_number("allocations after the start", refused(), 10);
  say_number("stack used", stack_used(), 10);
  say_number("stack size", stack_size(), 10);
  say("-----BEGIN PNG-----\n");
  say_base64(file, encode_png(pixels, SIDE, SIDE, file));
  say("-----END PNG-----\n");
  return 0;
}
