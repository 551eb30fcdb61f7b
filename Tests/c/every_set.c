/*
 * One picture by each instruction set of this CPU: every_set MODEL STEPS
 * Prints a line each, from the plainest: the 64-bit FNV-1a sum of the pixels of label 0 and seed 7, and the set's name. Status 1 when sums differ.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ditq.h"

static int fail(const char *message) {
  fprintf(stderr, "every_set: %s\n", message);
  return 1;
}

static uint64_t fnv1a(const uint8_t *bytes, size_t size) {
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
  return sum;
}

/* The "instruction_set" of a session's description, its first member. */
static int name_of(const ditq_session *session, char name[64]) {
  char text[512];
  size_t needed = 0;
  return ditq_session_describe_json(session, text, sizeof text, &needed, NULL) == DITQ_OK && sscanf(text, "{\"instruction_set\": \"%63[^\"]", name) == 1;
}

int main(int argc, char **argv) {
  if (argc != 3) return fail("usage: every_set MODEL STEPS");
  ditq_model *model = NULL;
  ditq_error error = DITQ_ERROR_INIT;
  if (ditq_model_open(argv[1], NULL, &model, &error) != DITQ_OK) return fail(error.message);
  ditq_model_info info = {.struct_size = sizeof info};
  if (ditq_model_describe(model, &info, &error) != DITQ_OK) return fail(error.message);
  const size_t size = (size_t)info.image_height * (size_t)info.image_width * (size_t)info.image_channels;
  uint8_t *pixels = malloc(size + 1);
  if (!pixels) return fail("no memory");
  ditq_generate_options options = {.struct_size = sizeof options};
  ditq_generate_options_init(&options);
  options.steps = atoi(argv[2]);

  uint64_t first = 0;
  char name[64], before[64] = "";
  for (int32_t isa = DITQ_ISA_GENERIC; isa <= DITQ_ISA_NEON_I8MM; isa++) {
    const ditq_session_options choice = {.struct_size = sizeof choice, .threads = 1, .isa_limit = isa};
    ditq_session *session = NULL;
    const ditq_status status = ditq_session_create(model, &choice, &session, &error);
    if (status == DITQ_UNSUPPORTED && isa != DITQ_ISA_GENERIC) continue; /* of another architecture */
    if (status != DITQ_OK) return fail(error.message);
    if (!name_of(session, name)) return fail("a session that does not say its instruction set");
    if (strcmp(name, before) != 0) { /* else the CPU has nothing better */
      const int32_t label = 0;
      const uint64_t seed = 7;
      if (ditq_generate(session, &label, &seed, 1, &options, pixels, size, &error) != DITQ_OK) return fail(error.message);
      const uint64_t sum = fnv1a(pixels, size);
      printf("%016" PRIx64 " %s\n", sum, name);
      if (*before && sum != first) return fail("the instruction sets do not agree");
      first = sum;
    }
    strcpy(before, name);
    ditq_session_destroy(session);
  }
  ditq_model_close(model);
  free(pixels);
  return 0;
}
