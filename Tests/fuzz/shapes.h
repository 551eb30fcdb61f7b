/*
 * A mutator for safetensors files that changes a size everywhere at once: in the shapes of all tensors that have it, or a multiple of it, in the
 * offsets and the lengths of their data, and where the metadata says it as a number. One time in four a single place is left as it was: two
 * places of a file that say one size are what readers forget to compare. Bytes alone hardly ever find these, since a file whose offsets do not
 * fit is refused at once. Blocks are copied and removed as well. What is no safetensors file is left to libFuzzer's own mutations.
 */
#ifndef SHAPES_H
#define SHAPES_H
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TENSORS = 512, RANK = 8, LARGEST_HEADER = 1 << 18, LARGEST_DATA = 1 << 20 };

typedef struct text { const char *start; size_t length; } text;
typedef struct tensor { text name, dtype; int rank, block; uint64_t shape[RANK], begin, end; } tensor;
typedef struct file { text metadata; int count; tensor tensors[TENSORS]; const uint8_t *data; size_t size; } file;

/* The end of a JSON value that begins at `at`, or NULL. */
static inline const char *value_end(const char *at, const char *end) {
  int depth = 0, is_text = 0;
  for (; at < end; at++) {
    if (is_text) {
      if (*at == '\\') at++;
      else if (*at == '"') is_text = 0;
    } else if (*at == '"') is_text = 1;
    else if (*at == '{' || *at == '[') depth++;
    else if ((*at == '}' || *at == ']') && depth-- == 0) return at;
    if (!is_text && depth == 0 && at + 1 < end && (at[1] == ',' || at[1] == '}' || at[1] == ']')) return at + 1;
  }
  return NULL;
}

static inline const char *after(const char *at, const char *end, const char *what) {
  const char *found = memmem(at, (size_t)(end - at), what, strlen(what));
  return found ? found + strlen(what) : NULL;
}

/* Numbers between brackets; answers with how many, -1 where it is something else. */
static inline int numbers(const char *at, const char *end, uint64_t *to, int most) {
  int count = 0;
  while (at < end && *at != ']') {
    if (*at >= '0' && *at <= '9') {
      if (count == most) return -1;
      uint64_t value = 0;
      for (; at < end && *at >= '0' && *at <= '9'; at++) value = value * 10 + (uint64_t)(*at - '0');
      to[count++] = value;
    } else if (*at == ' ' || *at == ',' || *at == '[') at++;
    else return -1;
  }
  return count;
}

static inline int read_tensor(tensor *to, text name, const char *at, const char *end) {
  uint64_t offsets[2];
  const char *shape = after(at, end, "\"shape\":"), *data = after(at, end, "\"data_offsets\":"), *dtype = after(at, end, "\"dtype\":");
  if (!shape || !data || !dtype || (dtype = memchr(dtype, '"', (size_t)(end - dtype))) == NULL) return 0;
  dtype++;
  const char *dtype_end = memchr(dtype, '"', (size_t)(end - dtype));
  if (!dtype_end || (to->rank = numbers(shape, end, to->shape, RANK)) < 0 || numbers(data, end, offsets, 2) != 2) return 0;
  to->name = name, to->dtype = (text){dtype, (size_t)(dtype_end - dtype)}, to->begin = offsets[0], to->end = offsets[1], to->block = -1;
  return to->begin <= to->end;
}

/* Whether bytes begin with a header as writers make it. */
static inline int read_file(file *to, const uint8_t *bytes, size_t size) {
  uint64_t length;
  if (size < 10) return 0;
  memcpy(&length, bytes, 8);
  if (length > size - 8 || length < 2) return 0;
  const char *at = (const char *)bytes + 8, *end = at + length;
  to->data = bytes + 8 + length, to->size = size - 8 - length, to->count = 0, to->metadata = (text){NULL, 0};
  while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
    const char *name_end = value_end(at, end), *value = name_end ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
    if (!value) return 0;
    text name = {at + 1, (size_t)(value - at - 1)};
    if ((value = memchr(value, '{', (size_t)(end - value))) == NULL || (name_end = value_end(value, end)) == NULL) return 0;
    if (name.length == 12 && memcmp(name.start, "__metadata__", 12) == 0) to->metadata = (text){value, (size_t)(name_end - value)};
    else if (to->count == TENSORS || !read_tensor(&to->tensors[to->count++], name, value, name_end)) return 0;
    at = name_end;
  }
  return to->count > 0;
}

/* Bytes that the tensors of a file take by its header. */
static inline uint64_t told_size(const file *of) {
  uint64_t size = 0;
  for (int i = 0; i < of->count; i++) size = of->tensors[i].end > size ? of->tensors[i].end : size;
  return size;
}

static uint32_t random_state;
static inline uint32_t any(uint32_t below) {
  random_state ^= random_state << 13, random_state ^= random_state >> 17, random_state ^= random_state << 5;
  return random_state % below;
}

/* What becomes of a size: k times `from` is k times `to` from now on, but at the place `spared`. */
typedef struct change { uint64_t from, to; int spared, places; } change;

static inline uint64_t changed(change *by, uint64_t value) {
  static const uint64_t multiples[] = {1, 2, 3, 4, 6, 8, 12, 16, 24};
  for (size_t i = 0; i < sizeof multiples / sizeof *multiples; i++)
    if (value == multiples[i] * by->from) return by->places++ == by->spared ? value : multiples[i] * by->to;
  return value;
}

/* The metadata with the numbers changed that stand in it from `first` on. */
static inline size_t write_metadata(char *to, text from, size_t first, change *by) {
  size_t length = 0;
  for (size_t i = 0; i < from.length;) {
    char before = i ? from.start[i - 1] : ' ';
    int begins = from.start[i] >= '0' && from.start[i] <= '9' && (before == ' ' || before == '[' || before == ':' || before == ',');
    size_t end = i;
    uint64_t value = 0;
    while (begins && end < from.length && end < i + 9 && from.start[end] >= '0' && from.start[end] <= '9') value = value * 10 + (uint64_t)(from.start[end++] - '0');
    if (!begins || i < first || (end < from.length && (from.start[end] == '.' || from.start[end] == 'e'))) to[length++] = from.start[i++];
    else length += (size_t)sprintf(to + length, "%llu", (unsigned long long)changed(by, value)), i = end;
  }
  return length;
}

static inline uint64_t other_size(uint64_t size) {
  switch (any(10)) {
    case 0: return size + 1;
    case 1: return size > 1 ? size - 1 : 2;
    case 2: return size * 2;
    case 3: return size / 2 ? size / 2 : 3;
    case 4: return size + 4;
    case 5: return size * 4;
    case 6: return (1 + any(8)) * (1 + any(8));
    case 7: return 1 + any(5);
    case 8: return (1 + any(7)) * 4;
    default: return any(20) ? 1 + any(64) : (uint64_t)1 << any(20);
  }
}

static inline int is_of(text name, const char *prefix) { return name.length >= strlen(prefix) && memcmp(name.start, prefix, strlen(prefix)) == 0; }

/* Copies the tensors of block 0 under another number, or takes those of the last number away. */
static inline void change_depth(file *of) {
  static const char block[] = "blocks.0.";
  int kept = 0, last = 0;
  for (int i = 0; i < of->count; i++)
    if (is_of(of->tensors[i].name, "blocks.") && of->tensors[i].name.length > 8) last = of->tensors[i].name.start[7] - '0' > last ? of->tensors[i].name.start[7] - '0' : last;
  if (any(3) == 0 && last > 0) {
    for (int i = 0; i < of->count; i++)
      if (!is_of(of->tensors[i].name, "blocks.") || of->tensors[i].name.start[7] - '0' != last) of->tensors[kept++] = of->tensors[i];
    of->count = kept;
    return;
  }
  for (int i = 0, count = of->count; i < count && of->count < TENSORS && last < 8; i++)
    if (is_of(of->tensors[i].name, block)) of->tensors[of->count] = of->tensors[i], of->tensors[of->count++].block = last + 1;
}

/* Writes the file anew, its offsets one after the other, as much of the data as was there; 0 where there is no room. */
static inline size_t write_file(uint8_t *to, size_t most, file *of, change *by, const char *scope, int is_inside) {
  static char header[LARGEST_HEADER];
  static uint8_t bytes[LARGEST_DATA];
  if (of->metadata.length * 2 + (size_t)of->count * 320 + 64 > LARGEST_HEADER) return 0;
  size_t length = 1, used = 0, first = 0;
  uint64_t offset = 0;
  int is_whole = 1;
  header[0] = '{';
  if (of->metadata.start) {
    /* The decoder's fields stand behind its name; the transformer's before it. */
    const char *decoder = after(of->metadata.start, of->metadata.start + of->metadata.length, "decoder");
    if (*scope && is_inside) first = decoder ? (size_t)(decoder - of->metadata.start) : of->metadata.length;
    length += (size_t)sprintf(header + length, "\"__metadata__\":");
    length += write_metadata(header + length, of->metadata, first, by);
  }
  for (int i = 0; i < of->count; i++) {
    tensor *each = &of->tensors[i];
    uint64_t before = 1, size = 1, bytes_before = each->end - each->begin;
    if (each->name.length > 200 || each->dtype.length > 8) return 0;
    for (int k = 0; k < each->rank; k++) {
      before *= each->shape[k];
      if (is_of(each->name, scope) == is_inside) each->shape[k] = changed(by, each->shape[k]);
      size *= each->shape[k];
      if (size > 1 << 30 || before > 1 << 30) return 0;
    }
    size = before ? size * (bytes_before / before) : 0;
    length += (size_t)sprintf(header + length, "%s\"", length > 1 ? "," : "");
    if (each->block < 0) length += (size_t)sprintf(header + length, "%.*s", (int)each->name.length, each->name.start);
    else length += (size_t)sprintf(header + length, "blocks.%d.%.*s", each->block, (int)each->name.length - 9, each->name.start + 9);
    length += (size_t)sprintf(header + length, "\":{\"dtype\":\"%.*s\",\"shape\":[", (int)each->dtype.length, each->dtype.start);
    for (int k = 0; k < each->rank; k++) length += (size_t)sprintf(header + length, "%s%llu", k ? "," : "", (unsigned long long)each->shape[k]);
    length += (size_t)sprintf(header + length, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)offset, (unsigned long long)(offset + size));
    offset += size;
    is_whole = is_whole && each->end <= of->size && used + size <= LARGEST_DATA && bytes_before > 0;
    for (uint64_t k = 0; is_whole && k < size; k++) bytes[used++] = of->data[each->begin + k % bytes_before];
  }
  length += (size_t)sprintf(header + length, "}");
  while (length % 64 != 56) header[length++] = ' ';
  if (8 + length + used > most) return 0;
  uint64_t told = length;
  memcpy(to, &told, 8), memcpy(to + 8, header, length), memcpy(to + 8 + length, bytes, used);
  return 8 + length + used;
}

/* One of the sizes that stand in the shapes of a scope, each as likely as the next however often it stands there; 0 where there is none. */
static inline uint64_t pick_size(const file *of, const char *scope, int is_inside) {
  static uint64_t sizes[TENSORS * RANK];
  uint32_t count = 0;
  for (int i = 0; i < of->count; i++)
    for (int k = 0; is_of(of->tensors[i].name, scope) == is_inside && k < of->tensors[i].rank; k++) {
      uint32_t place = 0;
      while (place < count && sizes[place] != of->tensors[i].shape[k]) place++;
      sizes[place] = of->tensors[i].shape[k];
      if (place == count) count++;
    }
  return count ? sizes[any(count)] : 0;
}

static inline size_t mutate_sizes(uint8_t *bytes, size_t size, size_t most) {
  static file found;
  if (!read_file(&found, bytes, size)) return 0;
  /* The transformer or its decoder, or both. */
  int is_inside = any(2) == 0;
  const char *scope = any(4) ? "vae." : "";
  if (!*scope) is_inside = 1;
  if (any(8) == 0) change_depth(&found);
  change by = {pick_size(&found, scope, is_inside), 0, -1, 0};
  static const uint64_t divisors[] = {1, 1, 1, 2, 3, 6, 8};
  uint64_t divisor = divisors[any(7)];
  if (by.from % divisor == 0) by.from /= divisor;
  if (by.from == 0) return 0;
  by.to = other_size(by.from);
  if (any(4) == 0) by.spared = (int)any(20);
  uint8_t *made = malloc(most);
  size_t length = write_file(made, most, &found, &by, scope, is_inside);
  memcpy(bytes, made, length);
  free(made);
  return length;
}

/* One of the numbers that stand in a text, behind a space; 0 where there is none. */
static inline uint64_t pick_number(text of) {
  uint64_t found = 0;
  uint32_t count = 0;
  for (size_t i = 1; i < of.length; i++) {
    if (of.start[i - 1] != ' ' || of.start[i] < '0' || of.start[i] > '9') continue;
    uint64_t value = 0;
    for (size_t k = i; k < of.length && k < i + 9 && of.start[k] >= '0' && of.start[k] <= '9'; k++) value = value * 10 + (uint64_t)(of.start[k] - '0');
    if (any(++count) == 0) found = value;
  }
  return found;
}

enum { PARTS = 16 };

/* The same of an input of texts with a zero byte after each, of which some are about one part of a model: `of[i]` says about which text i is,
   and text `shapes[part]` lists its tensors, "NAME SIZE SIZE" a line. */
static inline size_t mutate_texts(uint8_t *bytes, size_t size, size_t most, const char *of, const int shapes[2]) {
  static char made[LARGEST_HEADER];
  text parts[PARTS];
  int count = 0;
  for (size_t begin = 0; begin < size && count < PARTS; count++) {
    const uint8_t *end = memchr(bytes + begin, 0, size - begin);
    parts[count] = (text){(const char *)bytes + begin, end ? (size_t)(end - bytes) - begin : size - begin};
    begin += parts[count].length + 1;
  }
  int part = (int)any(2);
  if (size * 3 > LARGEST_HEADER || count <= shapes[part]) return 0;
  change by = {pick_number(parts[shapes[part]]), 0, -1, 0};
  static const uint64_t divisors[] = {1, 1, 1, 2, 3, 4, 12};
  uint64_t divisor = divisors[any(7)];
  if (by.from % divisor == 0) by.from /= divisor;
  if (by.from == 0) return 0;
  by.to = other_size(by.from);
  if (any(4) == 0) by.spared = (int)any(20);
  size_t length = 0;
  for (int i = 0; i < count; i++) {
    int is_meant = i < (int)strlen(of) && of[i] == '0' + part;
    length += write_metadata(made + length, parts[i], is_meant ? 0 : parts[i].length, &by);
    made[length++] = 0;
  }
  if (length > most) return 0;
  memcpy(bytes, made, length);
  return length;
}

/* Sizes two times in three, where there are any to change. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t most);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t most, unsigned seed) {
  random_state = seed * 2654435761u | 1;
#ifdef TEXTS
  static const int shapes[2] = SHAPES;
  size_t made = any(3) ? mutate_texts(data, size, most, TEXTS, shapes) : 0;
#else
  size_t made = any(3) ? mutate_sizes(data, size, most) : 0;
#endif
  return made ? made : LLVMFuzzerMutate(data, size, most);
}
#endif
