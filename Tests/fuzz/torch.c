/* A checkpoint of torch.save: the first byte even: a zip file as it is; odd: a pickle, put into a zip with storages enough for a tiny model. */
#include "fuzz.h"

enum { STORAGES = 32, STORAGE = 8192, ENTRY = 128 };

static void put(uint8_t *to, size_t value, int width) {
  for (int i = 0; i < width; i++) to[i] = (uint8_t)(value >> 8 * i);
}

static struct { uint8_t bytes[1 << 20], directory[(STORAGES + 2) * ENTRY]; size_t size, directory_size, count; } zip;

/* Appends a stored entry. Its checksum is nothing that the library looks at. */
static void add(const char *name, const uint8_t *data, size_t size) {
  size_t length = strlen(name);
  uint8_t *local = zip.bytes + zip.size, *central = zip.directory + zip.directory_size;
  memset(local, 0, 30), memset(central, 0, 46);
  put(local, 0x04034b50, 4), put(local + 18, size, 4), put(local + 22, size, 4), put(local + 26, length, 2);
  put(central, 0x02014b50, 4), put(central + 20, size, 4), put(central + 24, size, 4), put(central + 28, length, 2), put(central + 42, zip.size, 4);
  memcpy(local + 30, name, length), memcpy(central + 46, name, length), memcpy(local + 30 + length, data, size);
  zip.size += 30 + length + size, zip.directory_size += 46 + length, zip.count++;
}

static void fuzz(const uint8_t *data, size_t size) {
  static const uint8_t zeros[STORAGE];
  if (size < 1 || size > 1 << 19) return;
  if (data[0] % 2 == 0) return open_bytes(data + 1, size - 1, 2);
  zip.size = zip.directory_size = zip.count = 0;
  add("model/data.pkl", data + 1, size - 1);
  for (int i = 0; i < STORAGES; i++) {
    char name[ENTRY - 46];
    snprintf(name, sizeof name, "model/data/%d", i);
    add(name, zeros, STORAGE);
  }
  memcpy(zip.bytes + zip.size, zip.directory, zip.directory_size);
  uint8_t *end = zip.bytes + zip.size + zip.directory_size;
  memset(end, 0, 22);
  put(end, 0x06054b50, 4), put(end + 8, zip.count, 2), put(end + 10, zip.count, 2), put(end + 12, zip.directory_size, 4), put(end + 16, zip.size, 4);
  open_bytes(zip.bytes, (size_t)(end + 22 - zip.bytes), 2);
}
