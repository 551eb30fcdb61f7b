/* In place of examples/bare_metal/main.c: what a machine without a system cannot do is refused in a sentence. Prints "ok", or what came instead. */
#include "machine.h"

extern const uint8_t model_start[], model_end[];

static void say(const char *text) {
  while (*text) put_byte(*text++);
}

static int is(const char *a, const char *b) {
  while (*a && *a == *b) a++, b++;
  return *a == *b;
}

/* A line about a call: its status must be DITQ_UNSUPPORTED, its sentence this one. */
static void expect(ditq_status status, const ditq_error *error, const char *sentence) {
  const int as_expected = status == DITQ_UNSUPPORTED && is(error->message, sentence);
  say(as_expected ? "ok  " : "FAILED  "), say(ditq_status_name(status)), say(": "), say(error->message), say("\n");
}

int main(void) {
  ditq_error error = DITQ_ERROR_INIT;
  ditq_model *model = NULL;
  ditq_session *session = NULL;
  static const uint8_t pixels[3];
  static uint8_t file[256];
  size_t needed = 0;
  const ditq_model_options options = {.struct_size = sizeof options, .allocator = arena()};
  expect(ditq_model_open("emoji.ditq", &options, &model, &error), &error, "emoji.ditq: cannot open: this build has neither files nor threads");
  expect(ditq_png_encode(pixels, 1, 1, 3, NULL, 0, file, sizeof file, &needed, &error), &error, "PNG: this build has no libpng");
  expect(ditq_png_write("a.png", pixels, 1, 1, 3, NULL, 0, &error), &error, "PNG: this build has no libpng");

  static const char latent[] = "\x38\0\0\0\0\0\0\0{\"__metadata__\": {\"ditq.config\": \"{\\\"decoder\\\": {}}\"}}  ";
  expect(ditq_model_open_memory(latent, sizeof latent - 1, &options, &model, &error), &error,
         "data: ditq.config: decoder: none expected in this build, which has no code for it, one found");

  if (ditq_model_open_memory(model_start, (size_t)(model_end - model_start), &options, &model, &error) != DITQ_OK) say(error.message);
  ditq_session_options crew = {.struct_size = sizeof crew, .threads = 2, .allocator = arena()};
  expect(ditq_session_create(model, &crew, &session, &error), &error,
         "threads: thread 2 of 2 could not be started: this build has neither files nor threads");
  crew.threads = 0; /* as many as there are: one */
  if (ditq_session_create(model, &crew, &session, &error) != DITQ_OK) return say("FAILED  "), say(error.message), 1;
  ditq_session_destroy(session), ditq_model_close(model);
  const size_t before = arena_used();
  if (ditq_model_open_memory(model_start, (size_t)(model_end - model_start), &options, &model, &error) != DITQ_OK) say(error.message);
  if (ditq_session_create(model, &crew, &session, &error) != DITQ_OK) say(error.message);
  say(arena_used() == before ? "ok  what was closed is used again\n" : "FAILED  the arena grew\n");
  return 0;
}
