/*
 * Two sessions of one model in two threads: growth MODEL GENERATIONS of each
 * Prints what the process has before, after a tenth and after all of them, "GENERATIONS ALLOCATIONS LIVE RESIDENT_BYTES", and ends with status 1 where
 * a picture is not that of its seed.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ditq.h"
#include "heap.h"

enum { SEEDS = 5, PIXELS = 32 * 32 * 3 /* the most that fit */ };
static ditq_model *model;
static size_t size; /* of a picture */
static int generations;
static pthread_barrier_t barrier;
static _Atomic int failed;
static long own_calls, own_live; /* of this program itself while it looks */

static long resident(void) {
  long pages = 0;
  FILE *stream = fopen("/proc/self/statm", "r");
  if (!stream || fscanf(stream, "%*d %ld", &pages) != 1) abort();
  fclose(stream);
  return pages * sysconf(_SC_PAGESIZE);
}

/* Both threads come here; one of them looks. */
static void look(int done) {
  if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) {
    const long calls = heap_calls, live = heap_live; /* before resident() and printf, which allocate */
    printf("%d %ld %ld %ld\n", done, calls - own_calls, live - own_live, resident());
    own_calls += heap_calls - calls, own_live += heap_live - live;
  }
  pthread_barrier_wait(&barrier);
}

static void *work(void *context) {
  ditq_session *session = NULL;
  ditq_error error = DITQ_ERROR_INIT;
  ditq_session_options options = {.struct_size = sizeof options, .threads = 1};
  ditq_generate_options how;
  uint8_t first[SEEDS][PIXELS], pixels[PIXELS];
  ditq_generate_options_init(&how);
  how.steps = 2;
  failed |= ditq_session_create(model, &options, &session, &error) != DITQ_OK;
  look(0); /* so that what looking needs is there */
  for (int i = 0; i < generations && session; i++) {
    const int32_t label = (int32_t)(uintptr_t)context;
    const uint64_t seed = (uint64_t)(i % SEEDS);
    failed |= ditq_generate(session, &label, &seed, 1, &how, pixels, size, &error) != DITQ_OK;
    if (i < SEEDS) memcpy(first[i], pixels, size);
    failed |= memcmp(first[i % SEEDS], pixels, size) != 0;
    if (i + 1 == generations / 10 || i + 1 == generations) look(i + 1);
  }
  ditq_session_destroy(session);
  return NULL;
}

int main(int count, char **argument) {
  ditq_error error = DITQ_ERROR_INIT;
  pthread_t threads[2];
  ditq_model_info info = {.struct_size = sizeof info};
  if (count != 3 || (generations = atoi(argument[2])) < 10) return 2;
  if (ditq_model_open(argument[1], NULL, &model, &error) != DITQ_OK || ditq_model_describe(model, &info, &error) != DITQ_OK) return 2;
  size = (size_t)info.image_height * (size_t)info.image_width * (size_t)info.image_channels;
  if (size > PIXELS) return 2;
  pthread_barrier_init(&barrier, NULL, 2);
  for (uintptr_t i = 0; i < 2; i++)
    if (pthread_create(&threads[i], NULL, work, (void *)i) != 0) return 2;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  ditq_model_close(model);
  if (failed) printf("FAILED  a call, or a picture that is not that of its seed\n");
  return failed;
}
