/*
 * The peak of a CPU's multiply-accumulates, of floats or of 8-bit integers, and of its memory: what `ditq bench` holds the library's speed
 * against.
 *
 * Instruction sets carry the numbers of ditq.h (DITQ_ISA_…). Nothing here knows the library; it asks the CPU itself.
 */
#ifndef CPEAK_H
#define CPEAK_H

#include <stdint.h>

/* The best instruction set of this CPU that is no better than `limit` (0: no limit), by the conditions under which libditq uses it. */
int32_t peak_instruction_set(int32_t limit);
/* "AVX2"; the names are libditq's. */
const char *_Nonnull peak_set_name(int32_t set);

/* What is multiplied: floats, fused with the sum; 8-bit integers, whose products are summed exactly in 32 bits; or 8-bit with 4-bit ones, which
   some sets have shorter sums for. */
enum { PEAK_FLOAT = 0, PEAK_INTEGER = 1, PEAK_SMALL_INTEGER = 2 };
/* The instruction that is measured: "vfmadd231ps ymm". */
const char *_Nonnull peak_instruction_name(int32_t set, int32_t kind);

/* CPUs in this process's affinity mask; at least 1. */
int32_t peak_cpu_count(void);

/*
 * Multiply-accumulates a second of back-to-back independent instructions, summed over threads (1 or more) that run at the same time
 * for about `seconds`. The caller is one of them. Negative when a thread cannot be started. With more threads than CPUs their turns
 * overlap only in part, and the sum overstates.
 */
double peak_measure(int32_t set, int32_t kind, int32_t threads, double seconds);

/* Bytes of the last level of cache, 0 where the system does not say. */
int64_t peak_cache_size(void);

/* A buffer for so many threads (1 or more), 512 MiB in all or eight times the last level of cache; NULL when there is no memory. */
typedef struct peak_memory peak_memory;
peak_memory *_Nullable peak_memory_create(int32_t threads);
void peak_memory_destroy(peak_memory *_Nullable memory);
/*
 * Bytes a second that the threads read together, each streaming through its own part of the buffer, going on where it was. Negative when
 * a thread cannot be started.
 */
double peak_memory_measure(peak_memory *_Nonnull memory, double seconds);

#endif
