/*
 * JSON, where files have it: the first byte chooses the metadata's ditq.config, .layers, .calibration, .checksums, the ditq.config of a packed
 * file, or the header itself; the rest is its text. The tensors are those of a tiny model.
 */
#include "fuzz.h"

static const char *const keys[] = {"ditq.config", "ditq.layers", "ditq.calibration", "ditq.checksums", "ditq.config"};
enum { KEYS = 5, ROOM = 1 << 20 };
static uint8_t bytes[ROOM];

/* The text as a JSON string has it; bytes that are no UTF-8 stay as they are. */
static size_t escape(char *to, const uint8_t *text, size_t size) {
  size_t length = 0;
  for (size_t i = 0; i < size; i++) {
    if (text[i] < 32) length += (size_t)sprintf(to + length, "\\u%04x", text[i]);
    else if (text[i] == '"' || text[i] == '\\') to[length++] = '\\', to[length++] = (char)text[i];
    else to[length++] = (char)text[i];
  }
  return length;
}

/* The file at `base` with a member more in its header: "__metadata__", of which `recorded` is all but the last value. */
static size_t with_metadata(const char *base, const char *recorded, const char *key, const uint8_t *text, size_t size) {
  size_t base_size, header = 0;
  unsigned char *file = contents(base, &base_size);
  memcpy(&header, file, 8);
  char *to = (char *)bytes + 8;
  size_t length = (size_t)sprintf(to, "{\"__metadata__\":{%s\"%s\":\"", recorded, key);
  length += escape(to + length, text, size);
  length += (size_t)sprintf(to + length, "\"},");
  memcpy(to + length, file + 9, base_size - 9);
  size_t total = length + header - 1;
  memcpy(bytes, &total, 8);
  size_t whole = 8 + length + base_size - 9;
  free(file);
  return whole;
}

/* What packed.safetensors recorded but for one key: each line of models/packed.metadata is a member, with a comma behind it. */
static void recorded_without(const char *key, char *to) {
  size_t size;
  char *text = (char *)contents(MODELS "/packed.metadata", &size), quoted[64];
  text[size] = 0;
  *to = 0;
  snprintf(quoted, sizeof quoted, "\"%s\"", key);
  for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
    if (strncmp(line, quoted, strlen(quoted)) != 0) strcat(to, line);
  free(text);
}

static void fuzz(const uint8_t *data, size_t size) {
  if (size < 1 || size > 1 << 16) return;
  int choice = data[0] % (KEYS + 1);
  data++, size--;
  char recorded[32768] = "";
  size_t whole = size + 8;
  if (choice == KEYS) {
    memcpy(bytes, &size, 8), memcpy(bytes + 8, data, size);
    memset(bytes + 8 + size, 0, 32768), whole += 32768;
  } else {
    if (choice) recorded_without(keys[choice], recorded);
    whole = with_metadata(choice ? MODELS "/packed.safetensors" : MODELS "/float.safetensors", recorded, keys[choice], data, size);
  }
  uint8_t *exact = malloc(whole);
  memcpy(exact, bytes, whole);
  open_bytes(exact, whole, choice ? 0 : 2);
  free(exact);
}
