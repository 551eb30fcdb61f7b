/*
 * How much stack each call takes: stack FLOAT_MODEL QUANTIZED_MODEL DIFFUSERS_DIRECTORY TORCH_FILE FOLDER
 * Each call runs in a thread of its own whose stack was painted; what is not painted any more was used. Threads of the library get painted
 * stacks as well, by a pthread_create of ours. Prints a line "NAME BYTES" for each call, "(100_KB) BYTES" for something
 * that takes so much, and "(threads) BYTES" for the library's own.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "ditq.h"

enum { ROOM = 1 << 20, WORKERS = 4096 };
static const unsigned char PAINT = 0xC5;
static size_t overhead; /* what the thread itself takes at the upper end: its block, the first frames */

/* ---- Painted stacks ---- */

typedef int (*create)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
static create real_create(void) {
  union { void *object; create function; } found = {dlsym(RTLD_NEXT, "pthread_create")};
  return found.function;
}

static unsigned char *painted(size_t size) {
  unsigned char *stack = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (stack == MAP_FAILED) abort();
  return memset(stack, PAINT, size);
}

static size_t used(const unsigned char *stack, size_t size) {
  size_t clean = 0;
  while (clean < size && stack[clean] == PAINT) clean++;
  return size - clean;
}

static int start(pthread_t *thread, unsigned char *stack, size_t size, void *(*entry)(void *), void *context) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstack(&attributes, stack, size);
  int result = real_create()(thread, &attributes, entry, context);
  pthread_attr_destroy(&attributes);
  return result;
}

static struct { unsigned char *stack; size_t size; } workers[WORKERS];
static _Atomic int worker_count;

/* What the library calls instead of libc's. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*entry)(void *), void *context) {
  int number = worker_count++;
  size_t size = 0;
  if (number >= WORKERS || !attributes || pthread_attr_getstacksize(attributes, &size) != 0) abort();
  workers[number].stack = painted(size);
  workers[number].size = size;
  return start(thread, workers[number].stack, size, entry, context);
}

/* ---- The calls ---- */

static const char *float_path, *quantized_path, *directory, *torch_path, *folder;
static ditq_model *model, *quantized, *latent, *other, *made;
static ditq_session *session, *latent_session;
static ditq_linear *linear;
static ditq_report *report;
static ditq_run *run, *restored;
static ditq_error error = DITQ_ERROR_INIT;
static uint8_t pixels[4 * 64 * 64 * 3], saved[1 << 20];
static float latents[1 << 17], output[1 << 17];
static int32_t labels[4] = {1, 2, 3, 4}, remaining;
static uint64_t seeds[4] = {1, 2, 3, 4};
static size_t needed, saved_size;
static char text[1 << 20], path[4096];
static unsigned char *file;
static size_t file_size;

static ditq_status nothing(void) { return DITQ_OK; }
/* Something that takes 100 KB and a little: the measure would find it. */
static ditq_status greedy(void) {
  volatile char room[100 * 1024];
  for (size_t i = 0; i < sizeof room; i++) room[i] = 0;
  return room[0];
}
static ditq_status open_float(void) { return ditq_model_open(float_path, NULL, &model, &error); }
static ditq_status open_quantized(void) { return ditq_model_open(quantized_path, NULL, &quantized, &error); }
static ditq_status open_directory(void) { return ditq_model_open(directory, NULL, &latent, &error); }
static ditq_status open_torch(void) {
  ditq_model_options options = {.struct_size = sizeof options, .head_count = 4};
  return ditq_model_open(torch_path, &options, &other, &error);
}
static ditq_status open_missing(void) { return ditq_model_open("/nowhere", NULL, &other, &error) == DITQ_NOT_FOUND ? DITQ_OK : DITQ_INTERNAL; }
static ditq_status open_bytes(void) { return ditq_model_open_memory(file, file_size, NULL, &other, &error); }
/* The deepest JSON that is read at all, and one level more. */
static ditq_status open_nested(void) {
  memset(text, 0, sizeof text);
  size_t length = (size_t)sprintf(text + 8, "{\"a\":");
  for (int i = 0; i < 64; i++) text[8 + length++] = '[';
  text[0] = (char)length;
  return ditq_model_open_memory(text, 8 + length, NULL, &other, &error) == DITQ_MALFORMED ? DITQ_OK : DITQ_INTERNAL;
}
static int32_t copy(void *context, uint64_t offset, void *buffer, size_t count) { return (void)context, memcpy(buffer, file + offset, count), 0; }
static ditq_status open_reader(void) {
  ditq_reader reader = {sizeof reader, 0, NULL, file_size, copy};
  return ditq_model_open_reader(&reader, NULL, &other, &error);
}
static ditq_status describe(void) {
  ditq_model_info info = {.struct_size = sizeof info};
  return ditq_model_describe(model, &info, &error) || ditq_model_describe_json(quantized, text, sizeof text, &needed, &error);
}
static ditq_status find(void) { return ditq_model_find_class(model, "red apple", labels, &error); }
static ditq_status find_none(void) { return ditq_model_find_class(model, "redd appel", labels, &error) == DITQ_NOT_FOUND ? DITQ_OK : DITQ_INTERNAL; }
static ditq_status verify(void) { return ditq_model_verify(quantized, &error); }
static ditq_status save(void) { return ditq_model_save(quantized, path, &error); }
static ditq_status close_model(void) { return ditq_model_close(other), other = NULL, DITQ_OK; }
static ditq_status quantize_with(int32_t bits, int32_t mode, int32_t observer, double budget) {
  ditq_quantize_options options;
  ditq_quantize_options_init(&options);
  options.weight_bits = bits, options.activation_mode = mode, options.observer = observer, options.error_budget_db = budget;
  options.calibration_steps = 2, options.calibration_total_steps = 4, options.calibration_samples = 2, options.balance_channels = mode != 0;
  options.threads = 2;
  ditq_model_close(made);
  return ditq_quantize(model, &options, &made, &error);
}
static ditq_status quantize(void) { return quantize_with(8, DITQ_ACTIVATION_AUTO, DITQ_OBSERVER_MINMAX, 0); }
static ditq_status quantize_static(void) { return quantize_with(8, DITQ_ACTIVATION_STATIC_PER_STEP, DITQ_OBSERVER_MSE, 0); }
static ditq_status quantize_spread(void) { return quantize_with(4, DITQ_ACTIVATION_AUTO, DITQ_OBSERVER_MINMAX, 34); }
static ditq_status compare(void) {
  ditq_compare_options options = {.struct_size = sizeof options, .steps = 2, .samples = 2, .threads = 2};
  return ditq_compare(model, made, &options, &report, &error);
}
static ditq_status read_report(void) {
  return ditq_report_json(report)[0] != '{' || !ditq_report_csv(report)[0] || !(ditq_report_sqnr_db(report, -1) > 0);
}
static ditq_status create_session(void) {
  ditq_session_options options = {.struct_size = sizeof options, .threads = 2, .batch_limit = 2};
  return ditq_session_memory(model, &options, &needed, &error) || ditq_session_create(model, &options, &session, &error);
}
static ditq_status create_latent(void) {
  ditq_session_options options = {.struct_size = sizeof options, .threads = 2, .batch_limit = 2};
  return ditq_session_create(latent, &options, &latent_session, &error);
}
static ditq_generate_options *sampling(int32_t sampler, double eta) {
  static ditq_generate_options options;
  ditq_generate_options_init(&options);
  options.steps = 3, options.sampler = sampler, options.eta = eta;
  return &options;
}
static ditq_status generate(void) { return ditq_generate(session, labels, seeds, 3, sampling(DITQ_SAMPLER_DDIM, 0.5), pixels, sizeof pixels, &error); }
static ditq_status generate_latent(void) {
  return ditq_generate(latent_session, labels, seeds, 3, sampling(DITQ_SAMPLER_DPMPP_2M, 0), pixels, sizeof pixels, &error);
}
static ditq_status denoise(void) { return ditq_denoise(session, labels, seeds, 3, sampling(DITQ_SAMPLER_DDPM, 0), latents, sizeof latents, &error); }
static ditq_status decode(void) { return ditq_decode(latent_session, latents, 2, pixels, sizeof pixels, &error); }
static ditq_status decode_float(void) { return ditq_decode_float(latent_session, latents, 2, output, sizeof output, &error); }
static ditq_status predict(void) {
  static const float timesteps[3] = {1, 500, 999};
  return ditq_predict(session, latents, timesteps, labels, 3, output, sizeof output, &error);
}
static ditq_status describe_session(void) { return ditq_session_describe_json(session, text, sizeof text, &needed, &error); }
static ditq_status tell_session(void) {
  ditq_session_info info = {.struct_size = sizeof info};
  return ditq_session_describe(session, &info, &error);
}
static ditq_status cancel(void) { return ditq_session_cancel(session), DITQ_OK; }
static ditq_status run_create(void) { return ditq_run_create(model, labels, seeds, 3, sampling(DITQ_SAMPLER_DDIM, 0.5), &run, &error); }
static ditq_status run_step(void) { return ditq_run_step(run, session, &remaining, &error); }
static ditq_status run_describe(void) {
  ditq_run_info info = {.struct_size = sizeof info};
  return ditq_run_describe(run, &info, &error);
}
static ditq_status run_latents(void) { return ditq_run_latents(run, latents, output, sizeof output, &error); }
static ditq_status run_save(void) { return ditq_run_save(run, saved, sizeof saved, &saved_size, &error); }
static ditq_status run_restore(void) { return ditq_run_restore(model, saved, saved_size, &restored, &error); }
static ditq_status png_write(void) {
  const ditq_png_text texts[] = {{"Title", "apple"}, {"Class", "red apple"}};
  strcpy(path + strlen(folder), "/stack.png");
  return ditq_png_write(path, pixels, 64, 64, 3, texts, 2, &error);
}
static ditq_status png_encode(void) { return ditq_png_encode(pixels, 64, 64, 3, NULL, 0, saved, sizeof saved, &needed, &error); }
static ditq_status linear_create(void) {
  ditq_linear_options options = {.struct_size = sizeof options, .weight_bits = 4, .weight_group = 64, .weight_method = DITQ_WEIGHT_MSE};
  return ditq_linear_create(output, latents, 256, 256, &options, &linear, &error);
}
static ditq_status linear_apply(void) { return ditq_linear_apply(linear, latents, 100, output, 2, &error); }
static ditq_status destroy(void) {
  ditq_report_destroy(report), ditq_run_destroy(run), ditq_run_destroy(restored), ditq_linear_destroy(linear);
  ditq_session_destroy(session), ditq_session_destroy(latent_session);
  ditq_model_close(model), ditq_model_close(quantized), ditq_model_close(latent), ditq_model_close(made);
  return DITQ_OK;
}

static const struct { const char *name; ditq_status (*call)(void); } calls[] = {
    {"model_open_of_safetensors", open_float}, {"model_open_of_ditq", open_quantized}, {"model_open_of_a_directory", open_directory},
    {"model_open_of_a_pickle", open_torch}, {"model_close", close_model}, {"model_open_of_nothing", open_missing},
    {"model_open_memory", open_bytes}, {"model_close_again", close_model}, {"model_open_memory_nested", open_nested},
    {"model_open_reader", open_reader}, {"model_close_a_third_time", close_model}, {"model_describe", describe}, {"model_find_class", find},
    {"model_find_class_of_no_name", find_none}, {"model_verify", verify}, {"model_save", save}, {"quantize", quantize},
    {"quantize_by_ranges", quantize_static}, {"quantize_to_4_bits_with_a_budget", quantize_spread}, {"compare", compare},
    {"report", read_report}, {"session_create", create_session}, {"session_create_with_a_decoder", create_latent}, {"generate", generate},
    {"generate_with_a_decoder", generate_latent}, {"denoise", denoise}, {"decode", decode}, {"decode_float", decode_float},
    {"predict", predict}, {"session_describe_json", describe_session}, {"session_describe", tell_session}, {"session_cancel", cancel}, {"run_create", run_create},
    {"run_step", run_step}, {"run_describe", run_describe}, {"run_latents", run_latents}, {"run_save", run_save}, {"run_restore", run_restore}, {"png_write", png_write},
    {"png_encode", png_encode}, {"linear_create", linear_create}, {"linear_apply", linear_apply}, {"destroying_everything", destroy}};

/* ---- Measuring ---- */

static ditq_status answer;
static void *enter(void *call) {
  answer = (*(ditq_status (*const *)(void))call)();
  return NULL;
}

static size_t measured(const char *name, ditq_status (*const *call)(void)) {
  unsigned char *stack = painted(ROOM);
  pthread_t thread;
  if (start(&thread, stack, ROOM, enter, (void *)(uintptr_t)call) != 0) abort();
  pthread_join(thread, NULL);
  size_t bytes = used(stack, ROOM);
  munmap(stack, ROOM);
  if (answer != DITQ_OK) printf("FAILED  %s: %s\n", name, error.message), exit(1);
  return bytes;
}

int main(int count, char **argument) {
  if (count != 6) return 2;
  float_path = argument[1], quantized_path = argument[2], directory = argument[3], torch_path = argument[4], folder = argument[5];
  snprintf(path, sizeof path, "%s/stack.ditq", folder);
  FILE *stream = fopen(quantized_path, "rb");
  file = malloc(1 << 24);
  if (!stream || !file) return 2;
  file_size = fread(file, 1, 1 << 24, stream);
  fclose(stream);

  ditq_status (*const empty)(void) = nothing;
  overhead = measured("nothing", &empty);
  ditq_status (*const control)(void) = greedy;
  printf("(100_KB) %zu\n", measured("100 KB", &control) - overhead);
  for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) printf("%s %zu\n", calls[i].name, measured(calls[i].name, &calls[i].call) - overhead);
  size_t most = 0;
  for (int i = 0; i < worker_count; i++) {
    size_t bytes = used(workers[i].stack, workers[i].size);
    most = bytes > most ? bytes : most;
  }
  printf("(threads) %zu\n", worker_count ? most - overhead : 0);
  free(file);
  return 0;
}
