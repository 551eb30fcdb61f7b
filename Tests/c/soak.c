/*
 * A storm over shared models: soak SECONDS MODEL…  Six threads make sessions of their own on models that all share, generate, step runs through any
 * session, save and restore them, quantize, describe, and give everything back; a seventh cancels whatever works at random moments; an eighth opens
 * and closes models. A picture that is finished is that of its seed, whatever went on beside it. Prints what was done, and ends with status 1 where
 * anything was not as it should be. Made to be run under ThreadSanitizer.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ditq.h"

enum { WORKERS = 6, MODELS = 4, SEEDS = 4, STEPS = 6, ROOM = 64 * 64 * 3 };

static struct shared {
  ditq_model *model;
  const char *path;
  size_t size; /* of a picture */
  int32_t classes;
  uint8_t expected[SEEDS][ROOM];
} shared[MODELS];
static int model_count;
static struct slot {
  pthread_mutex_t lock;
  ditq_session *session; /* of its worker, while it is there to be cancelled */
} slots[WORKERS];
static atomic_long pictures, cancelled, sessions, runs, models, quantized;
static atomic_int ends, failures;

static void fail(const char *what, const char *why) {
  if (atomic_fetch_add(&failures, 1) < 10) fprintf(stderr, "soak: %s: %s\n", what, why);
}
static uint32_t drawn(uint32_t *state) { return *state = *state * 1664525u + 1013904223u, *state >> 8; }

/* Whether a call went through; else it must have been cancelled. */
static int went(ditq_status status, const ditq_error *error, const char *what) {
  if (status == DITQ_CANCELLED) atomic_fetch_add(&cancelled, 1);
  else if (status != DITQ_OK) fail(what, error->message);
  return status == DITQ_OK;
}

static ditq_generate_options generation(void) {
  ditq_generate_options options;
  ditq_generate_options_init(&options);
  options.steps = STEPS;
  return options;
}

static void picture(const struct shared *of, ditq_session *session, uint32_t *state) {
  uint64_t seeds[2] = {drawn(state) % SEEDS, drawn(state) % SEEDS};
  int32_t labels[2] = {(int32_t)seeds[0] % of->classes, (int32_t)seeds[1] % of->classes};
  size_t count = 1 + drawn(state) % 2;
  uint8_t *pixels = malloc(2 * of->size);
  ditq_generate_options options = generation();
  ditq_error error = DITQ_ERROR_INIT;
  if (went(ditq_generate(session, labels, seeds, count, &options, pixels, 2 * of->size, &error), &error, "generate"))
    for (size_t i = 0; i < count; i++) {
      atomic_fetch_add(&pictures, 1);
      if (memcmp(pixels + i * of->size, of->expected[seeds[i]], of->size)) fail("generate", "a picture is not that of its seed");
    }
  free(pixels);
}

/* A run, saved and restored after each step. */
static void run(const struct shared *of, ditq_session *session, uint32_t *state) {
  uint64_t seed = drawn(state);
  int32_t label = 0, remaining = STEPS;
  ditq_generate_options options = generation();
  ditq_error error = DITQ_ERROR_INIT;
  ditq_run *run = NULL, *again = NULL;
  if (!went(ditq_run_create(of->model, &label, &seed, 1, &options, &run, &error), &error, "run_create")) return;
  while (remaining > 0 && !atomic_load(&ends)) {
    size_t size = 0;
    if (!went(ditq_run_step(run, session, &remaining, &error), &error, "run_step")) continue;
    if (!went(ditq_run_save(run, NULL, 0, &size, &error), &error, "run_save")) break;
    void *record = malloc(size);
    if (went(ditq_run_save(run, record, size, &size, &error), &error, "run_save") &&
        went(ditq_run_restore(of->model, record, size, &again, &error), &error, "run_restore"))
      ditq_run_destroy(run), run = again;
    free(record);
  }
  ditq_run_destroy(run);
  atomic_fetch_add(&runs, 1);
}

static void quantize(const struct shared *of) {
  ditq_quantize_options options;
  ditq_quantize_options_init(&options);
  options.weight_bits = 4, options.weight_group = 16, options.calibration_steps = 1, options.calibration_samples = 1, options.threads = 2;
  ditq_error error = DITQ_ERROR_INIT;
  ditq_model_info info = {.struct_size = sizeof info};
  ditq_model *made = NULL;
  if (ditq_model_describe(of->model, &info, &error) || info.weight_bits != 32) return;
  if (went(ditq_quantize(of->model, &options, &made, &error), &error, "quantize")) atomic_fetch_add(&quantized, 1);
  ditq_model_close(made);
}

static void *work(void *context) {
  struct slot *slot = context;
  uint32_t state = (uint32_t)(slot - slots) * 7919 + 1;
  while (!atomic_load(&ends)) {
    const struct shared *of = &shared[drawn(&state) % (uint32_t)model_count];
    ditq_session_options options = {.struct_size = sizeof options, .threads = 1 + (int32_t)drawn(&state) % 3, .batch_limit = 1 + (int32_t)drawn(&state) % 2};
    ditq_error error = DITQ_ERROR_INIT;
    ditq_session *session = NULL;
    if (!went(ditq_session_create(of->model, &options, &session, &error), &error, "session_create")) continue;
    atomic_fetch_add(&sessions, 1);
    pthread_mutex_lock(&slot->lock);
    slot->session = session;
    pthread_mutex_unlock(&slot->lock);
    for (uint32_t calls = drawn(&state) % 6; calls > 0 && !atomic_load(&ends); calls--) {
      char text[64];
      size_t needed = 0;
      if (drawn(&state) % 4) picture(of, session, &state);
      else run(of, session, &state);
      ditq_session_describe_json(session, text, sizeof text, &needed, NULL);
      ditq_model_describe_json(of->model, text, sizeof text, &needed, NULL);
    }
    pthread_mutex_lock(&slot->lock);
    slot->session = NULL;
    pthread_mutex_unlock(&slot->lock);
    ditq_session_destroy(session);
    if (drawn(&state) % 32 == 0) quantize(of);
  }
  return NULL;
}

static void *cancel(void *context) {
  (void)context;
  uint32_t state = 5;
  while (!atomic_load(&ends)) {
    struct slot *slot = &slots[drawn(&state) % WORKERS];
    struct timespec pause = {0, (long)(drawn(&state) % 4000) * 1000};
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&slot->lock);
    if (slot->session) ditq_session_cancel(slot->session);
    pthread_mutex_unlock(&slot->lock);
  }
  return NULL;
}

/* Opens a model, makes a session, closes the model under it, and generates. */
static void *open_and_close(void *context) {
  (void)context;
  uint32_t state = 9;
  while (!atomic_load(&ends)) {
    const struct shared *of = &shared[drawn(&state) % (uint32_t)model_count];
    ditq_error error = DITQ_ERROR_INIT;
    ditq_model *model = NULL;
    ditq_session *session = NULL;
    if (!went(ditq_model_open(of->path, NULL, &model, &error), &error, "open")) continue;
    if (went(ditq_session_create(model, NULL, &session, &error), &error, "session_create")) {
      ditq_model_close(model);
      picture(of, session, &state);
      ditq_session_destroy(session);
    } else ditq_model_close(model);
    atomic_fetch_add(&models, 1);
  }
  return NULL;
}

/* Opens a model, and makes the pictures that it is to give for ever. */
static int prepare(struct shared *of, const char *path) {
  ditq_error error = DITQ_ERROR_INIT;
  ditq_model_info info = {.struct_size = sizeof info};
  ditq_session *session = NULL;
  ditq_generate_options options = generation();
  of->path = path;
  if (ditq_model_open(path, NULL, &of->model, &error) || ditq_model_describe(of->model, &info, &error)) return fail(path, error.message), 0;
  of->size = (size_t)info.image_height * (size_t)info.image_width * (size_t)info.image_channels, of->classes = info.class_count;
  if (!of->size || of->size > ROOM || ditq_session_create(of->model, NULL, &session, &error)) return fail(path, error.message), 0;
  for (uint64_t seed = 0; seed < SEEDS; seed++) {
    int32_t label = (int32_t)seed % of->classes;
    if (ditq_generate(session, &label, &seed, 1, &options, of->expected[seed], of->size, &error)) return fail(path, error.message), 0;
  }
  ditq_session_destroy(session);
  return 1;
}

int main(int argc, char **argv) {
  if (argc < 3 || argc > 2 + MODELS) return fputs("usage: soak SECONDS MODEL…, up to four\n", stderr), 2;
  for (int i = 2; i < argc; i++)
    if (!prepare(&shared[model_count++], argv[i])) return 1;
  pthread_t threads[WORKERS + 2];
  for (int i = 0; i < WORKERS; i++) pthread_mutex_init(&slots[i].lock, NULL);
  for (int i = 0; i < WORKERS + 2; i++)
    if (pthread_create(&threads[i], NULL, i < WORKERS ? work : i == WORKERS ? cancel : open_and_close, i < WORKERS ? &slots[i] : NULL)) return 1;
  struct timespec whole = {atol(argv[1]), 0};
  nanosleep(&whole, NULL);
  atomic_store(&ends, 1);
  for (int i = 0; i < WORKERS + 2; i++) pthread_join(threads[i], NULL);
  for (int i = 0; i < model_count; i++) ditq_model_close(shared[i].model);
  printf("ok  soak: %ld sessions, %ld pictures, %ld runs, %ld cancelled, %ld models opened, %ld quantized\n", sessions, pictures, runs, cancelled, models, quantized);
  if (!pictures || !runs || !cancelled || !models) fail("soak", "some of that never happened");
  return failures != 0;
}
