/*
 * libpng as the Storage floor sees it: one call that turns pixels into the bytes of a PNG file.
 * libpng reports errors by longjmp, which may not cross Swift frames: every call of it stands in png.c, and none of its headers here.
 */
#ifndef DITQ_CPNG_H
#define DITQ_CPNG_H

#include <stddef.h>
#include <stdint.h>

/* One iTXt chunk: key in Latin-1, 1 … 79 bytes; text in UTF-8. */
typedef struct ditqpng_text {
  const char *key, *text;
} ditqpng_text;

/* 8-bit pixels [height, width, channels]; channels is 1 (grey), 3 (RGB) or 4 (RGBA). */
typedef struct ditqpng_image {
  const uint8_t *pixels;
  uint32_t width, height;
  int channels;
  const ditqpng_text *texts;
  size_t text_count;
} ditqpng_image;

enum { DITQPNG_OK = 0, DITQPNG_OUT_OF_MEMORY = 1, DITQPNG_FAILED = 2, DITQPNG_ABSENT = 3 };
enum { DITQPNG_MESSAGE_SIZE = 160 };

/* Receives the next bytes of the file. Returns DITQPNG_OK, or the status that ends the encoding. */
typedef int (*ditqpng_write)(void *context, const uint8_t *bytes, size_t count);

/* Encodes the image: the same image gives the same bytes. Unless DITQPNG_OK is returned, message holds libpng's words. Prints nothing. */
#if defined(DITQ_BARE) /* a build without libpng */
static inline int ditqpng_encode(const ditqpng_image *image, ditqpng_write write, void *context, char *message) {
  return (void)image, (void)write, (void)context, (void)message, DITQPNG_ABSENT;
}
#else
int ditqpng_encode(const ditqpng_image *image, ditqpng_write write, void *context, char message[DITQPNG_MESSAGE_SIZE]);
#endif

#endif
