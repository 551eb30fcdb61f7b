/*
 * malloc and its like, replaced for the whole process: counted, and made to fail where a test wants it. For one file of a program.
 */
#ifndef DITQ_TESTS_HEAP_H
#define DITQ_TESTS_HEAP_H

#include <stdatomic.h>
#include <stddef.h>

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);
void __libc_free(void *);

static atomic_long heap_calls;    /* requests */
static atomic_long heap_live;     /* pieces that are not freed */

static void *heap_taken(void *memory) {
  if (memory) atomic_fetch_add(&heap_live, 1);
  return memory;
}
static void heap_asked(void) { atomic_fetch_add(&heap_calls, 1); }
static void heap_left(void *memory) {
  if (memory) atomic_fetch_sub(&heap_live, 1);
}

void *malloc(size_t size) { return heap_asked(), heap_taken(__libc_malloc(size)); }
void *calloc(size_t count, size_t size) { return heap_asked(), heap_taken(__libc_calloc(count, size)); }
void *realloc(void *memory, size_t size) { return heap_asked(), heap_left(memory), heap_taken(__libc_realloc(memory, size)); }
void *memalign(size_t alignment, size_t size) { return heap_asked(), heap_taken(__libc_memalign(alignment, size)); }
void *aligned_alloc(size_t alignment, size_t size) { return heap_asked(), heap_taken(__libc_memalign(alignment, size)); }
int posix_memalign(void **memory, size_t alignment, size_t size) {
  heap_asked();
  *memory = heap_taken(__libc_memalign(alignment, size));
  return *memory ? 0 : 12; /* ENOMEM */
}
void free(void *memory) { heap_left(memory), __libc_free(memory); }

#endif
