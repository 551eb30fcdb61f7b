/*
 * malloc and its like, replaced for the whole process: counted, and made to fail where a test wants it. For one file of a program.
 */
#ifndef DITQ_TESTS_HEAP_H
#define DITQ_TESTS_HEAP_H

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static atomic_long heap_calls; /* requests */
static atomic_long heap_live;  /* pieces that are not freed */
static atomic_long heap_bytes; /* in them */
/*
 * Requests of at least heap_large bytes are counted down; the one that makes it 0 fails. Where heap_stays is set, memory is at its end then:
 * from there on there is what is given back, and no more.
 */
static atomic_size_t heap_large;
static atomic_long heap_countdown;
static atomic_int heap_stays;
static atomic_long heap_refused;
static atomic_long heap_end; /* of heap_bytes; 0: none yet */
static atomic_long heap_misfits; /* aligned requests that are no multiple of their alignment, which C11 does not allow */

/* Whether a request is granted. */
static int heap_grants(size_t size) {
  atomic_fetch_add(&heap_calls, 1);
  if (heap_countdown == 0 || size < heap_large) return 1;
  if (heap_countdown > 1) return atomic_fetch_sub(&heap_countdown, 1), 1;
  if (heap_end && heap_bytes + (long)size <= heap_end) return 1;
  if (!heap_stays) heap_countdown = 0;
  else if (!heap_end) heap_end = heap_bytes;
  atomic_fetch_add(&heap_refused, 1);
  errno = ENOMEM;
  return 0;
}
static void *heap_taken(void *memory) {
  if (memory) atomic_fetch_add(&heap_live, 1), atomic_fetch_add(&heap_bytes, (long)malloc_usable_size(memory));
  return memory;
}
static void heap_left(void *memory) {
  if (memory) atomic_fetch_sub(&heap_live, 1), atomic_fetch_sub(&heap_bytes, (long)malloc_usable_size(memory));
}

void *malloc(size_t size) { return heap_grants(size) ? heap_taken(__libc_malloc(size)) : NULL; }
void *calloc(size_t count, size_t size) { return heap_grants(count * size) ? heap_taken(__libc_calloc(count, size)) : NULL; }
void *memalign(size_t alignment, size_t size) { return heap_grants(size) ? heap_taken(__libc_memalign(alignment, size)) : NULL; }
void *aligned_alloc(size_t alignment, size_t size) {
  if (size % alignment) atomic_fetch_add(&heap_misfits, 1);
  return memalign(alignment, size);
}
int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = memalign(alignment, size);
  return *memory ? 0 : 12; /* ENOMEM */
}
void *realloc(void *memory, size_t size) {
  if (!heap_grants(size)) return NULL;
  heap_left(memory);
  return heap_taken(__libc_realloc(memory, size));
}
void free(void *memory) { heap_left(memory), __libc_free(memory); }

#endif
