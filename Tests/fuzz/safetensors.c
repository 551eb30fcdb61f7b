/* A safetensors file. The header is what is mutated: tensors lie in zeros of 16 KB where the input ends before. */
#include "fuzz.h"

static void fuzz(const uint8_t *data, size_t size) {
  open_bytes(data, size, 2);
  size_t padded = size + 16384;
  uint8_t *bytes = calloc(padded, 1);
  memcpy(bytes, data, size);
  open_bytes(bytes, padded, 0);
  free(bytes);
}
