/*
 * The crew: threads wait for each other after warming up, and each counts for itself by its own clock.
 */
#define _GNU_SOURCE
#include "crew.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

typedef struct crew {
  crew_chunk chunk;
  void *context;
  double seconds;
  atomic_int ready; /* threads that have warmed up and wait */
  atomic_int go;    /* 0: wait, 1: run, -1: leave */
} crew;

typedef struct worker {
  crew *crew;
  pthread_t thread;
  int32_t number;
  double rate;
} worker;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void run(worker *worker) {
  const crew *crew = worker->crew;
  int64_t units = 0;
  double start = now(), elapsed;
  do {
    units += crew->chunk(crew->context, worker->number);
    elapsed = now() - start;
  } while (elapsed < crew->seconds);
  worker->rate = (double)units / elapsed;
}

static void *work(void *context) {
  worker *worker = context;
  crew *crew = worker->crew;
  crew->chunk(crew->context, worker->number);
  atomic_fetch_add(&crew->ready, 1);
  while (atomic_load(&crew->go) == 0) sched_yield();
  if (atomic_load(&crew->go) == 1) run(worker);
  return NULL;
}

double crew_rate(crew_chunk chunk, void *context, int32_t threads, double seconds) {
  if (threads < 1) return -1;
  crew crew = {.chunk = chunk, .context = context, .seconds = seconds};
  worker *workers = calloc((size_t)threads, sizeof *workers);
  if (!workers) return -1;
  int32_t started = 1;
  for (int32_t i = 0; i < threads; i++) workers[i] = (worker){.crew = &crew, .number = i};
  while (started < threads && pthread_create(&workers[started].thread, NULL, work, &workers[started]) == 0) started++;
  chunk(context, 0);
  while (atomic_load(&crew.ready) < started - 1) sched_yield();
  atomic_store(&crew.go, started == threads ? 1 : -1);
  if (started == threads) run(&workers[0]);
  double sum = workers[0].rate;
  for (int32_t i = 1; i < started; i++) {
    pthread_join(workers[i].thread, NULL);
    sum += workers[i].rate;
  }
  free(workers);
  return started == threads ? sum : -1;
}
