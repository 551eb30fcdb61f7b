/*
 * How fast threads read memory: each streams through a part of its own of a buffer that no cache holds, again and again.
 */
#include "CPeak.h"
#include "crew.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 20, PAGE = 1 << 21 };
static const size_t smallest = (size_t)512 << 20;

/* A line to itself, since each thread writes its own. */
typedef struct place {
  _Alignas(64) size_t next;
} place;

struct peak_memory {
  uint8_t *bytes;
  size_t part; /* bytes of a thread, a multiple of CHUNK */
  int32_t threads;
  place places[];
};

/* Careful: sysconf asks the CPU, and in a virtual machine that may answer with the sum of many caches; the kernel knows better. */
int64_t peak_cache_size(void) {
  int64_t largest = 0;
  for (int level = 0; level < 8; level++) {
    char path[64];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/size", level);
    FILE *file = fopen(path, "r");
    long long kilobytes = 0;
    if (!file) continue;
    if (fscanf(file, "%lldK", &kilobytes) == 1 && kilobytes << 10 > largest) largest = kilobytes << 10;
    fclose(file);
  }
  return largest;
}

peak_memory *peak_memory_create(int32_t threads) {
  if (threads < 1) return NULL;
  size_t wanted = 8 * (size_t)peak_cache_size();
  if (wanted < smallest) wanted = smallest;
  size_t part = (wanted / (size_t)threads + CHUNK) / CHUNK * CHUNK;
  size_t size = (part * (size_t)threads + PAGE - 1) / PAGE * PAGE;
  size_t own = (sizeof(peak_memory) + (size_t)threads * sizeof(place) + 63) / 64 * 64;
  peak_memory *memory = aligned_alloc(64, own);
  uint8_t *bytes = aligned_alloc(PAGE, size);
  if (!memory || !bytes) {
    free(memory);
    free(bytes);
    return NULL;
  }
  memset(memory, 0, own);
  /* Written, because pages that never were are all the same one. */
  memset(bytes, 1, size);
  memory->bytes = bytes;
  memory->part = part;
  memory->threads = threads;
  return memory;
}

void peak_memory_destroy(peak_memory *memory) {
  if (!memory) return;
  free(memory->bytes);
  free(memory);
}

/* Eight sums, so that no load waits for an addition. */
typedef uint64_t vector __attribute__((vector_size(16)));
enum { SUMS = 8 };

static int64_t read_chunk(void *context, int32_t thread) {
  peak_memory *memory = context;
  size_t *next = &memory->places[thread].next;
  const vector *from = (const vector *)(memory->bytes + (size_t)thread * memory->part + *next);
  vector sums[SUMS] = {0};
  for (size_t i = 0; i < CHUNK / sizeof(vector); i += SUMS) {
    _Pragma("clang loop unroll(full)") for (int k = 0; k < SUMS; k++) sums[k] += from[i + (size_t)k];
  }
  vector used[SUMS];
  memcpy(used, sums, sizeof used);
  __asm__ volatile("" : : "r"(used) : "memory");
  *next = *next + CHUNK < memory->part ? *next + CHUNK : 0;
  return CHUNK;
}

double peak_memory_measure(peak_memory *memory, double seconds) { return crew_rate(read_chunk, memory, memory->threads, seconds); }
