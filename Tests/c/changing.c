/*
 * A thread that writes over the arrays of running calls: changing MODEL SECONDS
 * Labels, timesteps, noise, latents, seeds and weights change from right to wrong and back while calls read them. Each array ends where a page
 * begins that may not be touched, so that whatever is read behind one ends the process. Prints how many calls ended how; status 1 where one ended
 * otherwise than with DITQ_OK, DITQ_INVALID_ARGUMENT, or DITQ_MALFORMED for what came of the numbers.
 */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "ditq.h"

enum { IMAGES = 16, OUTPUTS = 40, INPUTS = 64 };

static int32_t *labels;
static uint64_t *seeds;
static float *timesteps, *noise, *weights;
static size_t noise_count;
static atomic_bool done;

static int fail(const char *message) {
  fprintf(stderr, "changing: %s\n", message);
  return 1;
}

/* So many bytes that end at a page which may not be touched. */
static void *guarded(size_t size) {
  const size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (size + page - 1) / page * page;
  uint8_t *start = mmap(NULL, whole + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED || mprotect(start + whole, page, PROT_NONE) != 0) exit(fail("no memory"));
  return start + whole - size;
}

/* The library reads these as any host's memory; volatile, so that the compiler writes each. */
static void *change(void *unused) {
  static const int32_t wrong_labels[] = {-1, INT32_MAX, INT32_MIN, 1 << 20};
  static const float wrong[] = {NAN, INFINITY, -INFINITY, 1e30f};
  for (unsigned turn = 0; !atomic_load(&done); turn++) {
    const int isWrong = turn % 3 == 0;
    const unsigned place = turn / 3;
    *(volatile int32_t *)&labels[place % IMAGES] = isWrong ? wrong_labels[place % 4] : 0;
    *(volatile float *)&timesteps[place % IMAGES] = isWrong ? wrong[place % 4] : 7;
    *(volatile float *)&noise[place * 31 % noise_count] = isWrong ? wrong[place % 4] : 0.5f;
    *(volatile float *)&weights[place * 17 % (OUTPUTS * INPUTS)] = isWrong ? wrong[place % 4] : 0.25f;
    *(volatile uint64_t *)&seeds[place % IMAGES] = turn;
    for (volatile int i = 0; i < 200; i++) {}
  }
  return unused;
}

int main(int argc, char **argv) {
  if (argc != 3) return fail("usage: changing MODEL SECONDS");
  ditq_error error = DITQ_ERROR_INIT;
  ditq_model *model = NULL;
  ditq_session *session = NULL;
  const ditq_model_options how = {.struct_size = sizeof how, .head_count = 2};
  if (ditq_model_open(argv[1], &how, &model, &error) != DITQ_OK) return fail(error.message);
  const ditq_session_options choice = {.struct_size = sizeof choice, .threads = 1, .batch_limit = 2};
  if (ditq_session_create(model, &choice, &session, &error) != DITQ_OK) return fail(error.message);
  ditq_model_info info = {.struct_size = sizeof info};
  if (ditq_model_describe(model, &info, &error) != DITQ_OK) return fail(error.message);
  const size_t latents = (size_t)info.latent_channels * (size_t)info.latent_height * (size_t)info.latent_width;
  noise_count = IMAGES * latents;
  labels = guarded(IMAGES * sizeof *labels), seeds = guarded(IMAGES * sizeof *seeds), timesteps = guarded(IMAGES * sizeof *timesteps);
  noise = guarded(noise_count * sizeof *noise), weights = guarded(OUTPUTS * INPUTS * sizeof *weights);
  float *output = guarded(2 * noise_count * sizeof *output), *result = guarded(noise_count * sizeof *result);
  uint8_t *pixels = NULL;
  const size_t pixels_size = (size_t)IMAGES * (size_t)info.image_height * (size_t)info.image_width * (size_t)info.image_channels;
  if (pixels_size > 0) pixels = guarded(pixels_size);

  pthread_t thread;
  if (pthread_create(&thread, NULL, change, NULL) != 0) return fail("no thread");
  static const char *const names[] = {"denoise", "denoise from noise", "predict", "run_create", "decode", "linear_create", "generate"};
  long counts[7][3] = {{0}};
  const time_t end = time(NULL) + atoi(argv[2]);
  int outcome = 0;
  for (long turn = 0; (time(NULL) < end || turn < 70) && !outcome; turn++) {
    const int kind = (int)(turn % 7);
    ditq_generate_options options = {.struct_size = sizeof options};
    ditq_generate_options_init(&options);
    options.steps = 2;
    options.guidance_scale = 2;
    ditq_run *run = NULL;
    ditq_linear *linear = NULL;
    ditq_status status = DITQ_OK;
    switch (kind) {
    case 0: status = ditq_denoise(session, labels, seeds, IMAGES, &options, result, noise_count * sizeof *result, &error); break;
    case 1:
      options.noise = noise;
      status = ditq_denoise(session, labels, seeds, IMAGES, &options, result, noise_count * sizeof *result, &error);
      break;
    case 2: status = ditq_predict(session, noise, timesteps, labels, IMAGES, output, 2 * noise_count * sizeof *output, &error); break;
    case 3:
      options.noise = noise;
      status = ditq_run_create(model, labels, seeds, IMAGES, &options, &run, &error);
      for (int32_t left = 1; status == DITQ_OK && left > 0;) status = ditq_run_step(run, session, &left, &error);
      break;
    case 4:
      if (pixels) status = ditq_decode(session, noise, IMAGES, pixels, pixels_size, &error);
      break;
    case 5: {
      const ditq_linear_options bits = {.struct_size = sizeof bits, .weight_bits = turn % 2 ? 4 : 8};
      status = ditq_linear_create(weights, NULL, OUTPUTS, INPUTS, &bits, &linear, &error);
      break;
    }
    default:
      if (pixels) status = ditq_generate(session, labels, seeds, IMAGES, &options, pixels, pixels_size, &error);
    }
    if (status != DITQ_OK && status != DITQ_INVALID_ARGUMENT && status != DITQ_MALFORMED) {
      fprintf(stderr, "changing: %s: %s\n", names[kind], error.message);
      outcome = 1;
    }
    counts[kind][status == DITQ_OK ? 0 : status == DITQ_INVALID_ARGUMENT ? 1 : 2]++;
    ditq_run_destroy(run);
    ditq_linear_destroy(linear);
  }
  atomic_store(&done, 1);
  pthread_join(thread, NULL);
  for (int kind = 0; kind < 7; kind++) {
    printf("ok  changing: %s: %ld ok, %ld invalid, %ld not finite\n", names[kind], counts[kind][0], counts[kind][1], counts[kind][2]);
  }
  ditq_session_destroy(session);
  ditq_model_close(model);
  return outcome;
}
