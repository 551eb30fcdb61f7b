/*
 * The example at the top of ditq.h, for a model of any size: smoke MODEL [PNG]
 * Label 0, seed 7, default options. Prints the 64-bit FNV-1a sum of the pixels; on an error, one sentence and status 1.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "ditq.h"

static int fail(const char *message) {
  fprintf(stderr, "smoke: %s\n", message);
  return 1;
}

static uint64_t fnv1a(const uint8_t *bytes, size_t size) {
  uint64_t sum = UINT64_C(0xcbf29ce484222325);
  for (size_t i = 0; i < size; i++) sum = (sum ^ bytes[i]) * UINT64_C(0x100000001b3);
  return sum;
}

int main(int argc, char **argv) {
  if (argc < 2 || argc > 3) return fail("usage: smoke MODEL [PNG]");
  if (ditq_abi_version() != DITQ_ABI_VERSION) return fail("the library is not the one of this header");

  ditq_model *model = NULL;
  ditq_session *session = NULL;
  ditq_error error = DITQ_ERROR_INIT;
  if (ditq_model_open(argv[1], NULL, &model, &error) != DITQ_OK) return fail(error.message);
  ditq_model_info info = {.struct_size = sizeof info};
  if (ditq_model_describe(model, &info, &error) != DITQ_OK) return fail(error.message);
  size_t size = (size_t)info.image_height * (size_t)info.image_width * (size_t)info.image_channels;
  uint8_t *pixels = size ? malloc(size) : NULL;
  if (!pixels) return fail("no memory, or a model that makes no pixels");

  if (ditq_session_create(model, NULL, &session, &error) != DITQ_OK) return fail(error.message);
  int32_t label = 0;
  uint64_t seed = 7;
  if (ditq_generate(session, &label, &seed, 1, NULL, pixels, size, &error) != DITQ_OK) return fail(error.message);
  if (argc == 3 && ditq_png_write(argv[2], pixels, info.image_width, info.image_height, info.image_channels, NULL, 0, &error) != DITQ_OK)
    return fail(error.message);
  ditq_session_destroy(session);
  ditq_model_close(model);

  printf("%016" PRIx64 "\n", fnv1a(pixels, size));
  free(pixels);
  return 0;
}
