/*
 * The one place that calls libpng. Its errors land in `encode`, the function that holds the setjmp; its memory comes from malloc and is
 * watched, since libpng does not say which of its errors mean that memory ran out.
 */
#include "CPNG.h"

#include <png.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What libpng's callbacks reach. It belongs to the caller of `encode`: its fields keep their values when longjmp comes back. */
typedef struct encoding {
  png_structp png;
  png_infop info;
  ditqpng_write write;
  void *context;
  char *message;
  int status;
  jmp_buf landing;
} encoding;

static void take_words(encoding *e, const char *words) { snprintf(e->message, DITQPNG_MESSAGE_SIZE, "%s", words); }

static void on_warning(png_structp png, png_const_charp words) { take_words(png_get_error_ptr(png), words); }

static PNG_NORETURN void on_error(png_structp png, png_const_charp words) {
  encoding *e = png_get_error_ptr(png);
  take_words(e, words);
  if (e->status == DITQPNG_OK) e->status = DITQPNG_FAILED;
  longjmp(e->landing, 1);
}

static png_voidp on_allocate(png_structp png, png_alloc_size_t size) {
  void *memory = malloc(size);
  if (!memory) ((encoding *)png_get_mem_ptr(png))->status = DITQPNG_OUT_OF_MEMORY;
  return memory;
}

static void on_free(png_structp png, png_voidp memory) {
  (void)png;
  free(memory);
}

static void on_bytes(png_structp png, png_bytep bytes, size_t count) {
  encoding *e = png_get_io_ptr(png);
  e->status = e->write(e->context, bytes, count);
  if (e->status != DITQPNG_OK) png_error(png, "the receiver of the bytes refused them");
}

/* Careful: given NULL instead, libpng would flush the io pointer as a FILE. */
static void on_flush(png_structp png) { (void)png; }

/*
 * An iTXt chunk (PNG 1.2, 4.2.3.3): key, NUL, not compressed, method 0, no language, no translated key, text. libpng would keep copies of all texts in a
 * list that it lengthens by eight at a time, which takes long for many.
 */
static void write_text(encoding *e, const ditqpng_text *text) {
  static const png_byte name[5] = "iTXt", between[5] = {0, 0, 0, 0, 0};
  const size_t key = strlen(text->key), size = strlen(text->text);
  png_write_chunk_start(e->png, name, (png_uint_32)(key + sizeof between + size));
  png_write_chunk_data(e->png, (png_const_bytep)text->key, key);
  png_write_chunk_data(e->png, between, sizeof between);
  png_write_chunk_data(e->png, (png_const_bytep)text->text, size);
  png_write_chunk_end(e->png);
}

static void encode(encoding *e, const ditqpng_image *image) {
  if (setjmp(e->landing)) return;
  e->png = png_create_write_struct_2(PNG_LIBPNG_VER_STRING, e, on_error, on_warning, e, on_allocate, on_free);
  if (e->png) e->info = png_create_info_struct(e->png);
  if (!e->info) {
    if (e->status == DITQPNG_OK) e->status = DITQPNG_FAILED;
    return;
  }
  png_set_write_fn(e->png, e, on_bytes, on_flush);
  const int color = image->channels == 1 ? PNG_COLOR_TYPE_GRAY : image->channels == 3 ? PNG_COLOR_TYPE_RGB : PNG_COLOR_TYPE_RGB_ALPHA;
  png_set_IHDR(e->png, e->info, image->width, image->height, 8, color, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
               PNG_FILTER_TYPE_DEFAULT);
  png_write_info(e->png, e->info);
  for (size_t i = 0; i < image->text_count; i++) write_text(e, &image->texts[i]);
  const size_t row_size = (size_t)image->width * (size_t)image->channels;
  for (size_t y = 0; y < image->height; y++) png_write_row(e->png, image->pixels + y * row_size);
  png_write_end(e->png, NULL);
}

int ditqpng_encode(const ditqpng_image *image, ditqpng_write write, void *context, char message[DITQPNG_MESSAGE_SIZE]) {
  encoding e = {.write = write, .context = context, .message = message, .status = DITQPNG_OK};
  message[0] = '\0';
  encode(&e, image);
  png_destroy_write_struct(&e.png, &e.info);
  return e.status;
}
