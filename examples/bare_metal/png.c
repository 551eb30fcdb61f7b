/* A PNG file without a compressor: zlib's stored blocks (RFC 1950, 1951), PNG's chunks (ISO 15948). */
#include "machine.h"

typedef struct writer {
  uint8_t *at;
  uint32_t crc;        /* of the chunk */
  uint32_t low, high;  /* Adler-32 of the data */
} writer;

static void put(writer *w, uint8_t byte) {
  *w->at++ = byte;
  w->crc ^= byte;
  for (int bit = 0; bit < 8; bit++) w->crc = w->crc >> 1 ^ (w->crc & 1 ? 0xedb88320u : 0);
}

static void put32(writer *w, uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) put(w, (uint8_t)(value >> shift));
}

static void put_data(writer *w, uint8_t byte) {
  put(w, byte);
  w->low = (w->low + byte) % 65521;
  w->high = (w->high + w->low) % 65521;
}

static void begin(writer *w, uint32_t size, const char *type) {
  put32(w, size);
  w->crc = 0xffffffffu;
  for (int i = 0; i < 4; i++) put(w, (uint8_t)type[i]);
}

static void finish(writer *w) { put32(w, ~w->crc); }

size_t encode_png(const uint8_t *pixels, uint32_t width, uint32_t height, uint8_t *file) {
  static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n'};
  writer w = {.at = file, .low = 1};
  for (size_t i = 0; i < sizeof signature; i++) put(&w, signature[i]);
  begin(&w, 13, "IHDR");
  put32(&w, width), put32(&w, height);
  put(&w, 8), put(&w, 2), put(&w, 0), put(&w, 0), put(&w, 0); /* 8-bit RGB */
  finish(&w);
  const uint32_t line = 3 * width, block = line + 1; /* a stored block a row: its filter, which is none, and its pixels */
  begin(&w, 2 + height * (5 + block) + 4, "IDAT");
  put(&w, 0x78), put(&w, 0x01);
  for (uint32_t y = 0; y < height; y++) {
    put(&w, y + 1 == height);
    put(&w, (uint8_t)block), put(&w, (uint8_t)(block >> 8)), put(&w, (uint8_t)~block), put(&w, (uint8_t)(~block >> 8));
    put_data(&w, 0);
    for (uint32_t x = 0; x < line; x++) put_data(&w, pixels[y * line + x]);
  }
  put32(&w, w.high << 16 | w.low);
  finish(&w);
  begin(&w, 0, "IEND");
  finish(&w);
  return (size_t)(w.at - file);
}
