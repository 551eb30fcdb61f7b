/* A PNG's texts and sizes: three bytes of channels, width and height, then keys and texts, each ended by a zero byte. */
#include <unistd.h>

#include "fuzz.h"

enum { TEXTS = 8 };

static void fuzz(const uint8_t *data, size_t size) {
  start();
  input from = {data, size};
  int32_t channels = (int8_t)next(&from), width = (int8_t)next(&from), height = (int8_t)next(&from);
  ditq_png_text texts[TEXTS];
  size_t count = 0;
  for (; count < TEXTS && from.size; count++) texts[count] = (ditq_png_text){next_text(&from, 0), next_text(&from, 0)};
  size_t pixels = channels > 0 && width > 0 && height > 0 ? (size_t)channels * (size_t)width * (size_t)height : 1, needed = 0, again = 0;
  uint8_t *image = malloc(pixels);
  memset(image, (int)size, pixels);
  if (ok(ditq_png_encode(image, width, height, channels, texts, count, NULL, 0, &needed, &error))) {
    uint8_t *png = malloc(needed);
    expect(ok(ditq_png_encode(image, width, height, channels, texts, count, png, needed, &again, &error)) && again == needed, "a PNG is as long as it said");
    expect(memcmp(png, "\x89PNG\r\n\x1a\n", 8) == 0, "and begins like one");
    free(png);
    png = malloc(needed / 2);
    ok(ditq_png_encode(image, width, height, channels, texts, count, png, needed / 2, &again, &error));
    free(png);
  }
  free(image);
  for (size_t i = 0; i < count; i++) free((char *)texts[i].key), free((char *)texts[i].text);
}
