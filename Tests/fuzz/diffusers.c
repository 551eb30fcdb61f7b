/*
 * A diffusers directory: the input is its texts, with a zero byte after each: model_index.json, scheduler/…, transformer/…, vae/config.json, and
 * where there is a fifth an index of shards. The weights are those of a tiny model; a sixth and a seventh text list tensors, "NAME SIZE SIZE" a line,
 * which the transformer's or the decoder's weights are made of then. So shapes.h can change a size in config and tensors together.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#define TEXTS "0001001"
#define SHAPES {5, 6}
#include "shapes.h"

static const char *const names[] = {
  "model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json", "transformer/diffusion_pytorch_model.safetensors.index.json"};
static const char *const weights[] = {"transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"};
static char folder[64], path[256], original[512];

static void link_weights(void) {
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, weights[i]);
    snprintf(original, sizeof original, "%s/pipeline/%s", MODELS, weights[i]);
    unlink(path);
    if (symlink(original, path) && errno != EEXIST) perror(path), exit(2);
  }
}

/* 16-bit floats of 0.1 for each tensor of a list; nothing where it is longer than a small model is. */
static void write_weights(const char *name, const char *list, size_t length) {
  static char header[LARGEST_HEADER];
  static uint8_t data[LARGEST_DATA];
  size_t used = 1, offset = 0;
  header[0] = '{';
  for (const char *end = list + length; list < end;) {
    const char *next_line = memchr(list, '\n', (size_t)(end - list)), *at = memchr(list, ' ', (size_t)(end - list));
    if (!next_line || !at || at > next_line || at - list > 200 || used > LARGEST_HEADER - 1024) return;
    used += (size_t)sprintf(header + used, "%s\"%.*s\":{\"dtype\":\"F16\",\"shape\":[", used > 1 ? "," : "", (int)(at - list), list);
    size_t size = 2;
    for (int rank = 0; at < next_line && rank < RANK; rank++) {
      unsigned long long value = strtoull(at, NULL, 10);
      if (value > LARGEST_DATA || (size *= value) > LARGEST_DATA) return;
      used += (size_t)sprintf(header + used, "%s%llu", rank ? "," : "", value);
      at = memchr(at + 1, ' ', (size_t)(next_line - at - 1));
      if (!at) at = next_line;
    }
    used += (size_t)sprintf(header + used, "],\"data_offsets\":[%zu,%zu]}", offset, offset + size);
    if ((offset += size) > LARGEST_DATA) return;
    list = next_line + 1;
  }
  header[used++] = '}';
  uint64_t told = used;
  memset(data, 0x2e, offset);
  snprintf(path, sizeof path, "%s/%s", folder, name);
  unlink(path);
  FILE *file = fopen(path, "wb");
  if (!file) perror(path), exit(2);
  fwrite(&told, 8, 1, file), fwrite(header, 1, used, file), fwrite(data, 1, offset, file);
  fclose(file);
}

static void remove_folder(void) {
  static const char *const more[] = {"scheduler", "transformer", "vae", ""};
  for (int pass = 0; pass < 11; pass++) {
    snprintf(path, sizeof path, "%s/%s", folder, pass < 5 ? names[pass] : pass < 7 ? weights[pass - 5] : more[pass - 7]);
    remove(path);
  }
}

static void fuzz(const uint8_t *data, size_t size) {
  if (!*folder) {
    snprintf(folder, sizeof folder, "/dev/shm/ditq-fuzz-%d", (int)getpid());
    mkdir(folder, 0700);
    for (int i = 1; i < 4; i++) {
      snprintf(path, sizeof path, "%s/%s", folder, names[i]);
      *strrchr(path, '/') = 0;
      mkdir(path, 0700);
    }
    atexit(remove_folder);
  }
  input from = {data, size};
  for (int i = 0; i < 5; i++) {
    const uint8_t *end = memchr(from.data, 0, from.size);
    size_t length = end ? (size_t)(end - from.data) : from.size;
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    if (i == 4) link_weights();
    snprintf(path, sizeof path, "%s/%s", folder, names[i]);
    if (i == 4 && !length) unlink(path);
    else {
      FILE *file = fopen(path, "wb");
      if (!file) perror(path), exit(2);
      fwrite(from.data, 1, length, file);
      fclose(file);
    }
    from.data += length + (end != NULL), from.size -= length + (end != NULL);
  }
  for (int i = 0; i < 2 && from.size > 0; i++) {
    char *list = next_text(&from, 0);
    if (*list) write_weights(weights[i], list, strlen(list));
    free(list);
  }
  start();
  ditq_model *model = NULL;
  if (!ok(ditq_model_open(folder, NULL, &model, &error))) return;
  use(model);
  ditq_model_close(model);
}
