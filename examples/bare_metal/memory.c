/*
 * All memory there is: one static buffer, cut into blocks in the order of their addresses. The library's hook and what compilers call by
 * themselves come here. First fit, neighbours joined when freed: it is used while starting, never while running.
 */
#include "machine.h"

#ifndef ARENA_SIZE
#define ARENA_SIZE (3u << 20)
#endif

typedef struct block {
  size_t size;   /* with this header; the lowest bit: in use */
  size_t before; /* size of the block before; 0 for the first */
} block;
enum { UNIT = sizeof(block) };

static _Alignas(64) uint8_t buffer[ARENA_SIZE];
static size_t highest, refusals;
static int is_ready, is_sealed;

static size_t size_of(const block *b) { return b->size & ~(size_t)1; }
static block *after(block *b) { return (block *)((uint8_t *)b + size_of(b)); }
static block *end(void) { return (block *)(buffer + sizeof buffer); }

/* Sets a block's size, and tells its neighbour. */
static void resize(block *b, size_t size, size_t in_use) {
  b->size = size | in_use;
  if (after(b) < end()) after(b)->before = size;
}

/* Cuts `size` bytes off the front of a free block; answers with the rest. */
static block *cut(block *b, size_t size) {
  block *rest = (block *)((uint8_t *)b + size);
  rest->size = size_of(b) - size;
  resize(rest, rest->size, 0);
  resize(b, size, 0);
  return rest;
}

static void *take(size_t size, size_t alignment) {
  if (is_sealed) return refusals++, NULL;
  if (!is_ready) resize((block *)buffer, sizeof buffer, 0), is_ready = 1;
  size = (size + UNIT - 1) / UNIT * UNIT + UNIT;
  if (alignment < UNIT) alignment = UNIT;
  for (block *b = (block *)buffer; b < end(); b = after(b)) {
    const size_t place = ((uintptr_t)(b + 1) + alignment - 1) / alignment * alignment, gap = place - (uintptr_t)(b + 1);
    if ((b->size & 1) || size_of(b) < gap + size) continue;
    if (gap) b = cut(b, gap);
    if (size_of(b) > size) cut(b, size);
    b->size |= 1;
    const size_t reached = (size_t)((uint8_t *)after(b) - buffer);
    if (reached > highest) highest = reached;
    return b + 1;
  }
  return NULL;
}

static void join(block *b) {
  block *next = after(b);
  if (next < end() && !(next->size & 1)) resize(b, size_of(b) + size_of(next), 0);
}

void free(void *memory) {
  if (!memory) return;
  block *b = (block *)memory - 1;
  b->size &= ~(size_t)1;
  join(b);
  block *previous = (block *)((uint8_t *)b - b->before);
  if (b->before && !(previous->size & 1)) join(previous);
}

int posix_memalign(void **memory, size_t alignment, size_t size) { return (*memory = take(size, alignment)) ? 0 : 12; }

static void *hook_allocate(void *context, size_t size, size_t alignment) { return (void)context, take(size, alignment); }
static void hook_deallocate(void *context, void *memory, size_t size, size_t alignment) {
  (void)context, (void)size, (void)alignment;
  free(memory);
}

const ditq_allocator *arena(void) {
  static const ditq_allocator hooks = {.struct_size = sizeof hooks, .allocate = hook_allocate, .deallocate = hook_deallocate};
  return &hooks;
}
size_t arena_used(void) { return highest; }
size_t arena_size(void) { return sizeof buffer; }
void seal_memory(void) { is_sealed = 1; }
size_t refused(void) { return refusals; }

/* ---- What compilers call by themselves ---- */

void *memmove(void *target, const void *source, size_t size) {
  uint8_t *to = target;
  const uint8_t *from = source;
  if (to <= from)
    for (size_t i = 0; i < size; i++) to[i] = from[i];
  else
    for (size_t i = size; i-- > 0;) to[i] = from[i];
  return target;
}

void *memcpy(void *restrict target, const void *restrict source, size_t size) {
  uint8_t *to = target;
  const uint8_t *from = source;
  size_t i = 0;
  if ((((uintptr_t)to | (uintptr_t)from) & 7) == 0)
    for (; i + 8 <= size; i += 8) *(uint64_t *)(to + i) = *(const uint64_t *)(from + i);
  for (; i < size; i++) to[i] = from[i];
  return target;
}

void *memset(void *target, int value, size_t size) {
  uint8_t *to = target;
  for (size_t i = 0; i < size; i++) to[i] = (uint8_t)value;
  return target;
}

int memcmp(const void *a, const void *b, size_t size) {
  const uint8_t *x = a, *y = b;
  for (size_t i = 0; i < size; i++)
    if (x[i] != y[i]) return x[i] - y[i];
  return 0;
}

size_t strlen(const char *text) {
  size_t length = 0;
  while (text[length]) length++;
  return length;
}
