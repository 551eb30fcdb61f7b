/*
 * libc as the Platform floor sees it. Embedded Swift has no Glibc module, so both builds import this one.
 * Beside the includes it holds only what Swift cannot import: variadic functions, errno, macros, CPU instructions.
 * Careful: _GNU_SOURCE must not be defined here, or the modules of libc that Swift made without it do not agree with this one.
 */
#ifndef DITQ_CPLATFORM_H
#define DITQ_CPLATFORM_H

#if defined(DITQ_BARE)
#include "../bare.h"
#else

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static inline int ditqp_errno(void) { return errno; }

/* open(2) for reading; creates nothing and does not wait for a pipe's other end. */
static inline int ditqp_open_read(const char *path) { return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY); }
/* open(2) of a file that must not exist yet. */
static inline int ditqp_open_new(const char *path) { return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666); }
/* open(2) for writing to what exists already and is no regular file: a device, a pipe. */
static inline int ditqp_open_device(const char *path) { return open(path, O_WRONLY | O_CLOEXEC); }

static inline void *ditqp_map_read(int descriptor, size_t size) {
  void *address = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  return address == MAP_FAILED ? NULL : address;
}

/* Lets the system take back the memory of a mapped file's pages: they are read again when they are needed. */
static inline void ditqp_forget(const void *address, size_t size) { (void)madvise((void *)(uintptr_t)address, size, MADV_DONTNEED); }

enum { DITQP_REGULAR = 1, DITQP_DIRECTORY = 2, DITQP_OTHER = 3 };
/* What a path is, following links; 0 with errno when it cannot be told. */
static inline int ditqp_kind(const char *path) {
  struct stat s;
  if (stat(path, &s) != 0) return 0;
  return S_ISREG(s.st_mode) ? DITQP_REGULAR : S_ISDIR(s.st_mode) ? DITQP_DIRECTORY : DITQP_OTHER;
}
/* Size of an open regular file in bytes, or -1. */
static inline int64_t ditqp_size(int descriptor) {
  struct stat s;
  return fstat(descriptor, &s) == 0 && S_ISREG(s.st_mode) ? (int64_t)s.st_size : -1;
}

/* The system's words for an error number, in a buffer of the caller: strerror is not safe with threads. */
const char *ditqp_error_text(int number, char *buffer, size_t size);

/* CPUs that the scheduler lets this thread run on; 0 when it does not tell. */
int ditqp_affinity_count(void);

/* Starts a thread that receives no signals, with a small stack. */
static inline int ditqp_thread_start(pthread_t *thread, void *(*entry)(void *), void *context, size_t stack_size) {
  sigset_t all, before;
  pthread_attr_t attributes;
  int result = pthread_attr_init(&attributes);
  if (result != 0) return result;
  result = pthread_attr_setstacksize(&attributes, stack_size);
  sigfillset(&all);
  if (result == 0) result = pthread_sigmask(SIG_SETMASK, &all, &before);
  if (result == 0) {
    result = pthread_create(thread, &attributes, entry, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  pthread_attr_destroy(&attributes);
  return result;
}

/* Small memory for a call that finds none, see reserve.c. `begin` answers 0 where there is not even that. */
enum { DITQP_CLASSES = 7 };
typedef struct ditqp_reserve {
  struct ditqp_reserve *outer; /* of the call whose callback made this one */
  int is_large, is_short, lock;
  size_t counts[DITQP_CLASSES];
  size_t room_size;
  void *room; /* for the next list or text */
  void *pieces[DITQP_CLASSES]; /* lists: each piece begins with the next one's address */
} ditqp_reserve;
int ditqp_reserve_begin(ditqp_reserve *reserve, int is_large);
void ditqp_reserve_end(ditqp_reserve *reserve);
/* The reserve of this thread's call, and lending it to a thread that works for the call. */
ditqp_reserve *ditqp_reserve_current(void);
void ditqp_reserve_borrow(ditqp_reserve *reserve);
/* 0 where the call of this thread lives on its reserve and cannot fill it up again. */
int ditqp_memory_is_there(void);
/* Takes a piece of memory for the next request of this size, or a few bytes less. 0 where there is none. */
int ditqp_ask_for_room(size_t size);

#if defined(__x86_64__)
/* <cpuid.h> is not included: as a module it drags in headers that were compiled without _GNU_SOURCE. */
static inline void ditqp_cpuid(unsigned leaf, unsigned *b, unsigned *c) {
  unsigned a = leaf, d, count = 0;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(*b), "+c"(count), "=d"(d));
  *c = count;
}
static inline unsigned ditqp_largest_leaf(void) {
  unsigned a = 0, b, c = 0, d;
  __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
  return a;
}
/* Which registers the system saves: XCR0. */
static inline unsigned ditqp_saved_registers(void) {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}
/* 1 when the CPU has AVX2 and FMA and the system saves their registers. */
static inline int ditqp_has_avx2(void) {
  unsigned b, c;
  if (ditqp_largest_leaf() < 7) return 0;
  ditqp_cpuid(1, &b, &c);
  const unsigned fma = 1u << 12, osxsave = 1u << 27, avx = 1u << 28;
  if ((c & (fma | osxsave | avx)) != (fma | osxsave | avx)) return 0;
  if ((ditqp_saved_registers() & 0x6) != 0x6) return 0;
  ditqp_cpuid(7, &b, &c);
  return (b & (1u << 5)) != 0;
}
/* AVX-512 F, DQ, BW, VL and VNNI. */
static inline int ditqp_has_avx512vnni(void) {
  unsigned b, c;
  if (!ditqp_has_avx2() || (ditqp_saved_registers() & 0xe6) != 0xe6) return 0;
  ditqp_cpuid(7, &b, &c);
  const unsigned f = 1u << 16, dq = 1u << 17, bw = 1u << 30, vl = 1u << 31, vnni = 1u << 11;
  return (b & (f | dq | bw | vl)) == (f | dq | bw | vl) && (c & vnni);
}
#elif defined(__aarch64__)
/* The dot product of Armv8.2, the 8-bit products of Armv8.6 beside it: bits that the kernel gives each process. */
static inline int ditqp_has_neon_dot(void) { return (getauxval(AT_HWCAP) & (1ul << 20)) != 0; }
static inline int ditqp_has_neon_i8mm(void) { return ditqp_has_neon_dot() && (getauxval(AT_HWCAP2) & (1ul << 13)) != 0; }
#endif
#endif /* DITQ_BARE */

/* Tells the CPU that this is a waiting loop. */
static inline void ditqp_pause(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

#endif
