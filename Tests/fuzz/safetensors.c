/*
 * A safetensors file. The header is what is mutated, by shapes.h a size everywhere at once: where the input ends before its tensors, they lie in
 * bytes of 0x2e, which as 16-bit floats are 0.1, up to the end that the header tells.
 */
#include "fuzz.h"
#include "shapes.h"

static void fuzz(const uint8_t *data, size_t size) {
  static file header;
  open_bytes(data, size, 2);
  size_t padded = size + 16384;
  if (read_file(&header, data, size) && told_size(&header) <= LARGEST_DATA) {
    padded = size - header.size + told_size(&header);
    if (padded < size) padded = size;
  }
  uint8_t *bytes = malloc(padded);
  memcpy(bytes, data, size);
  memset(bytes + size, 0x2e, padded - size);
  open_bytes(bytes, padded, 0);
  free(bytes);
}
