/* Threads that do the same work at the same time, and how fast all of them are together. */
#ifndef CPEAK_CREW_H
#define CPEAK_CREW_H

#include <stdint.h>

/* Some 50 µs or more of work of one thread, after which the clock is looked at; answers how many units that were. */
typedef int64_t (*crew_chunk)(void *context, int32_t thread);

/*
 * Units a second, summed over threads (1 or more, of which the caller is one) that repeat `chunk` for about `seconds` after one to warm up.
 * Negative when a thread cannot be started.
 */
double crew_rate(crew_chunk chunk, void *context, int32_t threads, double seconds);

#endif
