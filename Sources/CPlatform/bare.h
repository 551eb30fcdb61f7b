/*
 * What the Platform floor takes from libc, for a machine without a system (-DDITQ_BARE): no files, one thread, no clock. Whatever needs more
 * fails with ENOSYS, which that floor reports as DITQ_UNSUPPORTED. The host gives memory: posix_memalign and free, and memcpy, memmove,
 * memset, memcmp and strlen, which compilers call by themselves; see examples/bare_metal/memory.c.
 */
#ifndef DITQ_CPLATFORM_BARE_H
#define DITQ_CPLATFORM_BARE_H

#include <stddef.h>
#include <stdint.h>

int posix_memalign(void **memory, size_t alignment, size_t size);
void free(void *memory);
void *memcpy(void *target, const void *source, size_t size);
int memcmp(const void *a, const void *b, size_t size);
size_t strlen(const char *text);
static inline void *aligned_alloc(size_t alignment, size_t size) {
  void *memory;
  return posix_memalign(&memory, alignment, size) == 0 ? memory : NULL;
}
static inline void *realloc(void *memory, size_t size) { return (void)memory, (void)size, NULL; }

/* There is no reserve of small memory: the host gives enough, or Swift's own objects end the program. */
typedef struct ditqp_reserve {
  int none;
} ditqp_reserve;
static inline int ditqp_reserve_begin(ditqp_reserve *reserve, int is_large) { return (void)reserve, (void)is_large, 1; }
static inline void ditqp_reserve_end(ditqp_reserve *reserve) { (void)reserve; }
static inline ditqp_reserve *ditqp_reserve_current(void) { return NULL; }
static inline void ditqp_reserve_borrow(ditqp_reserve *reserve) { (void)reserve; }
static inline int ditqp_memory_is_there(void) { return 1; }
/* Nor a clock that would tell when to ask the host. */
static inline void ditqp_ask_host(int (*ends)(void *context), void *context) { (void)ends, (void)context; }
static inline int ditqp_call_goes_on(void) { return 1; }
static inline int ditqp_ask_for_room(size_t size) { return (void)size, 1; }

/* ---- Reasons ---- */

#define ENOENT 2
#define EINTR 4
#define ENOMEM 12
#define EEXIST 17
#define ENOTDIR 20
#define ELOOP 40
#define ENOSYS 38
static inline int ditqp_errno(void) { return ENOSYS; }
static inline const char *ditqp_error_text(int number, char *buffer, size_t size) {
  return (void)number, (void)buffer, (void)size, "this build has neither files nor threads";
}

/* ---- Files ---- */

enum { DITQP_NOTHING = 0, DITQP_REGULAR = 1, DITQP_DIRECTORY = 2, DITQP_OTHER = 3 };
typedef struct ditqp_file {
  int kind;
  unsigned permissions, owner, group;
  uint64_t device, inode;
  int64_t size;
} ditqp_file;
static inline ditqp_file ditqp_no_file(void) {
  ditqp_file none = {DITQP_NOTHING, 0, 0, 0, 0, 0, 0};
  return none;
}
static inline ditqp_file ditqp_look(const char *path) { return (void)path, ditqp_no_file(); }
static inline size_t ditqp_names(const char *path, char *names, size_t size) { return (void)path, (void)names, (void)size, (size_t)0; }
static inline ditqp_file ditqp_look_open(int descriptor) { return (void)descriptor, ditqp_no_file(); }
static inline intptr_t ditqp_read_link(const char *path, char *target, size_t size) { return (void)path, (void)target, (void)size, -1; }
static inline int ditqp_check_writable(const char *path, unsigned permissions) { return (void)path, (void)permissions, -1; }
static inline int ditqp_dress(int descriptor, const ditqp_file *like) { return (void)descriptor, (void)like, -1; }
static inline int ditqp_open_read(const char *path) { return (void)path, -1; }
static inline int ditqp_open_new(const char *path, unsigned mode) { return (void)path, (void)mode, -1; }
static inline int ditqp_open_device(const char *path) { return (void)path, -1; }
static inline void *ditqp_map_read(int descriptor, size_t size) { return (void)descriptor, (void)size, NULL; }
static inline void ditqp_forget(const void *address, size_t size) { (void)address, (void)size; }
static inline int munmap(void *address, size_t size) { return (void)address, (void)size, -1; }
static inline intptr_t read(int descriptor, void *bytes, size_t size) { return (void)descriptor, (void)bytes, (void)size, -1; }
static inline intptr_t ditqp_write(int descriptor, const void *bytes, size_t size) { return (void)descriptor, (void)bytes, (void)size, -1; }
static inline int fsync(int descriptor) { return (void)descriptor, -1; }
static inline int close(int descriptor) { return (void)descriptor, -1; }
static inline int unlink(const char *path) { return (void)path, -1; }
static inline int rename(const char *before, const char *after) { return (void)before, (void)after, -1; }
static inline int getpid(void) { return 1; }

/* ---- Threads: mutexes and conditions that nobody waits for ---- */

typedef int pthread_t, pthread_mutex_t, pthread_cond_t;
static inline int ditqp_affinity_count(void) { return 1; }
static inline int ditqp_thread_start(pthread_t *thread, void *(*entry)(void *), void *context, size_t stack_size) {
  return (void)thread, (void)entry, (void)context, (void)stack_size, ENOSYS;
}
static inline int pthread_join(pthread_t thread, void **result) { return (void)thread, (void)result, 0; }
static inline int pthread_mutex_init(pthread_mutex_t *mutex, const void *attributes) { return (void)mutex, (void)attributes, 0; }
static inline int pthread_mutex_destroy(pthread_mutex_t *mutex) { return (void)mutex, 0; }
static inline int pthread_mutex_lock(pthread_mutex_t *mutex) { return (void)mutex, 0; }
static inline int pthread_mutex_unlock(pthread_mutex_t *mutex) { return (void)mutex, 0; }
static inline int pthread_cond_init(pthread_cond_t *condition, const void *attributes) { return (void)condition, (void)attributes, 0; }
static inline int pthread_cond_destroy(pthread_cond_t *condition) { return (void)condition, 0; }
static inline int pthread_cond_broadcast(pthread_cond_t *condition) { return (void)condition, 0; }
static inline int pthread_cond_signal(pthread_cond_t *condition) { return (void)condition, 0; }
static inline int pthread_cond_wait(pthread_cond_t *condition, pthread_mutex_t *mutex) { return (void)condition, (void)mutex, 0; }

/* ---- The clock stands still: times are only reported ---- */

#define CLOCK_MONOTONIC 1
struct timespec {
  int64_t tv_sec, tv_nsec;
};
static inline int clock_gettime(int clock, struct timespec *now) {
  (void)clock;
  now->tv_sec = now->tv_nsec = 0;
  return 0;
}

/* ---- The CPU says itself what it has ---- */

#if defined(__aarch64__)
static inline int ditqp_has_neon_dot(void) {
  uint64_t features;
  __asm__("mrs %0, id_aa64isar0_el1" : "=r"(features));
  return (features >> 44 & 15) != 0;
}
#endif

#endif
