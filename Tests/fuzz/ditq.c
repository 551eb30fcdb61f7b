/* A .ditq file, by the copying open: a reader that serves the input; and what opens is saved, opened again and the same. Sizes are
   mutated everywhere at once, see shapes.h. */
#include <unistd.h>

#include "fuzz.h"
#include "shapes.h"

static int32_t serve(void *context, uint64_t offset, void *buffer, size_t count) {
  const input *from = context;
  expect(offset <= from->size && count <= from->size - offset, "a reader is asked for what it has");
  memcpy(buffer, from->data + offset, count);
  return 0;
}

static void fuzz(const uint8_t *data, size_t size) {
  start();
  input from = {data, size};
  const ditq_reader reader = {sizeof reader, 0, &from, size, serve};
  ditq_model *model = NULL, *again = NULL;
  if (!ok(ditq_model_open_reader(&reader, NULL, &model, &error))) return;
  use(model);
  char path[64];
  snprintf(path, sizeof path, "/dev/shm/ditq-fuzz-%d.ditq", (int)getpid());
  if (ok(ditq_model_save(model, path, &error))) {
    expect(ok(ditq_model_open(path, NULL, &again, &error)), "what was saved opens");
    expect(ok(ditq_model_verify(again, &error)), "and is as it was written");
    ditq_model_close(again);
    unlink(path);
  }
  ditq_model_close(model);
}
