/*
 * A diffusers directory: the input is its texts, with a zero byte after each: model_index.json, scheduler/…, transformer/…, vae/config.json, and
 * where there is a fifth an index of shards. The weights are those of a tiny model.
 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"

static const char *const names[] = {
  "model_index.json", "scheduler/scheduler_config.json", "transformer/config.json", "vae/config.json", "transformer/diffusion_pytorch_model.safetensors.index.json"};
static const char *const weights[] = {"transformer/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"};
static char folder[64], path[256], original[512];

static void link_weights(int is_sharded) {
  for (int i = 0; i < 2; i++) {
    snprintf(path, sizeof path, "%s/%s", folder, weights[i]);
    snprintf(original, sizeof original, "%s/pipeline/%s", MODELS, weights[i]);
    if (symlink(original, path) && errno != EEXIST) perror(path), exit(2);
  }
  /* Where there is an index, the file is a shard: by another name, since a whole one would be taken first. */
  snprintf(path, sizeof path, "%s/transformer/shard", folder);
  snprintf(original, sizeof original, "%s/%s", folder, weights[0]);
  if (is_sharded) rename(original, path);
  else unlink(path);
}

static void remove_folder(void) {
  static const char *const more[] = {"transformer/shard", "scheduler", "transformer", "vae", ""};
  for (int pass = 0; pass < 12; pass++) {
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
    if (i == 4) link_weights(length > 0);
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
  start();
  ditq_model *model = NULL;
  if (!ok(ditq_model_open(folder, NULL, &model, &error))) return;
  use(model);
  ditq_model_close(model);
}
