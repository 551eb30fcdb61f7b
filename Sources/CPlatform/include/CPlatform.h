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
/* open(2) of a file that must not exist yet; of its mode, the host's umask takes away. */
static inline int ditqp_open_new(const char *path, unsigned mode) { return open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode); }
/* open(2) for writing to what exists already and is no regular file: a device, a pipe. A pipe that nobody reads is ENXIO, at once; what is written
   to one that somebody does read waits for the reader. */
static inline int ditqp_open_device(const char *path) {
  int descriptor = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (descriptor >= 0) (void)fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK);
  return descriptor;
}
/* write(2) whose failure is an errno alone: neither SIGPIPE nor SIGXFSZ reaches the host. See files.c. */
intptr_t ditqp_write(int descriptor, const void *bytes, size_t size);

static inline void *ditqp_map_read(int descriptor, size_t size) {
  void *address = mmap(NULL, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  return address == MAP_FAILED ? NULL : address;
}

/* Lets the system take back the memory of a mapped file's pages: they are read again when they are needed. */
static inline void ditqp_forget(const void *address, size_t size) { (void)madvise((void *)(uintptr_t)address, size, MADV_DONTNEED); }

enum { DITQP_NOTHING = 0, DITQP_REGULAR = 1, DITQP_DIRECTORY = 2, DITQP_OTHER = 3 };
/* What stands under a path, or is open. */
typedef struct ditqp_file {
  int kind;
  unsigned permissions, owner, group; /* permissions: read, write and execute of owner, group and others */
  uint64_t device, inode;
  int64_t size; /* of a regular file, in bytes */
} ditqp_file;
/* Following links. Where nothing can be told the kind is DITQP_NOTHING, with errno. */
ditqp_file ditqp_look(const char *path);
ditqp_file ditqp_look_open(int descriptor);
/* Writes the names in a directory, each with its NUL, but for those that do not fit; the bytes written, 0 where it cannot be read. */
size_t ditqp_names(const char *path, char *names, size_t size);
/* Where a symbolic link leads, NUL-terminated; -1 where the path is none, or does not fit. */
intptr_t ditqp_read_link(const char *path, char *target, size_t size);
/* 0 where this process may write to the file, and it is not protected by having no permission to write at all, which root's rights pass over. */
int ditqp_check_writable(const char *path, unsigned permissions);
/* Gives an open file of ours owner, group and permissions, as far as the system allows: never more rights than these give. 0, or -1. */
int ditqp_dress(int descriptor, const ditqp_file *like);

/* The system's words for an error number, in a buffer of the caller: strerror is not safe with threads. */
const char *ditqp_error_text(int number, char *buffer, size_t size);

/* CPUs that the scheduler lets this thread run on; 0 when it does not tell. */
int ditqp_affinity_count(void);

/* Starts a thread with a small stack that receives no signals but those of its own faults, see threads.c. */
int ditqp_thread_start(pthread_t *thread, void *(*entry)(void *), void *context, size_t stack_size);

/* Small memory for a call that finds none, see reserve.c. `begin` answers 0 where there is not even that. */
enum { DITQP_CLASSES = 7 };
typedef struct ditqp_reserve {
  struct ditqp_reserve *outer; /* of the call whose callback made this one */
  int is_large, is_short, lock;
  int is_ended; /* the host said so */
  int (*ends)(void *context); /* asks it; NULL where it has not asked to be asked */
  void *context;
  uint64_t looks, due; /* how often somebody looked, and from what time on the host is asked again */
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
/* From now on the host of this thread's call is asked now and then whether it is to end; by nobody, with NULL. */
void ditqp_ask_host(int (*ends)(void *context), void *context);
/* 0 once that answered anything but 0. */
int ditqp_call_goes_on(void);
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
