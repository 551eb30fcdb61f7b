/*
 * Every call that takes memory, threads or a callback, refused the k-th of what it asks for, for every k until it succeeds:
 *     failures FAULT MODEL HEADS FOLDER [EVERY [OPERATION]]
 * MODEL is a float one, a file or a diffusers directory; what it is when it was quantized is saved, and opened too. With a decoder, pictures are made.
 * FAULT: "callback" cancels · "hook" the host's allocator · "blocks" malloc of 4096 bytes and more · "heap" any malloc · "exhausted" any malloc
 * from the k-th on but for what was given back · "threads" pthread_create. EVERY: only each EVERYth k. OPERATION: this one alone. After each refusal: the status that belongs to it, out parameters
 * as they were, as many pieces of memory held as before; then the same call again on the same handles, which is refused the next one, and at the end
 * succeeds. Prints "OPERATION REFUSALS" for each operation, and at the end "phases", in which a callback ended a call.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ditq.h"
#include "heap.h"

static ditq_error error;
static const char *fault, *checkpoint, *folder;
static char target[4096];
static ditq_model *model, *packed, *stored;   /* made before any fault: in float, quantized, and that opened from a file */
static ditq_session *session;
static ditq_run *run;
static ditq_linear *linear;
static int32_t heads;
static unsigned char *bytes, saved[1 << 20];
static size_t byte_count, saved_size;
static ditq_model_info info;
static char packed_path[4096];
static int phases[8];

/* ---- Faults: what is asked for is counted down, and refused at 0 ---- */

static long countdown;      /* of the callback, the hooks and threads; 0: nothing is refused */
static int was_refused;
static int refuses(void) { return countdown > 0 && --countdown == 0 ? (was_refused = 1) : 0; }

static int32_t progress(void *context, const ditq_progress *p) {
  (void)context;
  if (!refuses()) return 0;
  phases[p->phase] = 1;
  return 1;
}
static void *take(void *context, size_t size, size_t alignment) {
  return (void)context, refuses() ? NULL : aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
static void give(void *context, void *memory, size_t size, size_t alignment) { (void)context, (void)size, (void)alignment, free(memory); }
static const ditq_allocator hooks = {sizeof hooks, 0, NULL, take, give};
int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*entry)(void *), void *context) {
  union { void *object; int (*function)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *); } real = {dlsym(RTLD_NEXT, "pthread_create")};
  return strcmp(fault, "threads") == 0 && refuses() ? EAGAIN : real.function(thread, attributes, entry, context);
}

static int is(const char *name) { return strcmp(fault, name) == 0; }
/* Of what calculates long: one, where it is called the most often. */
static int32_t threads(void) { return is("heap") ? 1 : 2; }
static const ditq_allocator *allocator(void) { return is("hook") ? &hooks : NULL; }
static ditq_progress_callback callback(void) { return is("callback") ? progress : NULL; }

static void begin(long k) {
  was_refused = 0;
  if (is("heap") || is("exhausted") || is("blocks")) {
    heap_large = is("blocks") ? 4096 : 0;
    heap_stays = is("exhausted");
    heap_countdown = k;
  } else countdown = k;
}
/* Whether anything was refused since begin. */
static int end(void) {
  const int refused = was_refused || heap_refused > 0;
  countdown = 0;
  heap_countdown = 0;
  heap_end = 0;
  heap_refused = 0;
  return refused;
}

/* ---- Operations: each answers with its status, and gives back what it made ---- */

static ditq_model_options opening(void) {
  return (ditq_model_options){.struct_size = sizeof(ditq_model_options), .head_count = heads, .allocator = allocator(), .progress = callback()};
}
static ditq_status open_path(void **made) {
  ditq_model_options options = opening();
  return ditq_model_open(checkpoint, &options, (ditq_model **)made, &error);
}
static ditq_status open_packed(void **made) {
  ditq_model_options options = opening();
  options.head_count = 0;
  return ditq_model_open(packed_path, &options, (ditq_model **)made, &error);
}
static int32_t copy(void *context, uint64_t offset, void *buffer, size_t count) { return (void)context, memcpy(buffer, bytes + offset, count), 0; }
static ditq_status open_reader(void **made) {
  ditq_model_options options = opening();
  ditq_reader reader = {sizeof reader, 0, NULL, byte_count, copy};
  return ditq_model_open_reader(&reader, &options, (ditq_model **)made, &error);
}
static ditq_status verify(void **made) { return (void)made, ditq_model_verify(stored, &error); }
static ditq_status make_session(void **made) {
  ditq_session_options options = {.struct_size = sizeof options, .threads = 3, .batch_limit = 2, .allocator = allocator()};
  return ditq_session_create(packed, &options, (ditq_session **)made, &error);
}
static ditq_status measure_session(void **made) {
  ditq_session_options options = {.struct_size = sizeof options, .threads = 0, .batch_limit = 2};
  size_t size;
  return (void)made, ditq_session_memory(packed, &options, &size, &error);
}
static const int32_t labels[3] = {0, 1, 2};
static const uint64_t seeds[3] = {1, 2, 3};
static ditq_generate_options sampling(void) {
  ditq_generate_options options;
  ditq_generate_options_init(&options);
  options.steps = 3, options.progress = callback();
  return options;
}
static ditq_status denoise(void **made) {
  static float latents[3 * 64 * 64 * 4];
  ditq_generate_options options = sampling();
  (void)made;
  return ditq_denoise(session, labels, seeds, 3, &options, latents, sizeof latents, &error);
}
static ditq_status generate(void **made) {
  static uint8_t pixels[3 * 256 * 256 * 3];
  ditq_generate_options options = sampling();
  if (!info.has_decoder) return denoise(made);
  return ditq_generate(session, labels, seeds, 3, &options, pixels, sizeof pixels, &error);
}
static ditq_status make_run(void **made) {
  ditq_generate_options options = sampling();
  options.steps = 50;
  return ditq_run_create(packed, labels, seeds, 3, &options, (ditq_run **)made, &error);
}
static ditq_status step_run(void **made) {
  int32_t remaining;
  (void)made;
  return ditq_run_step(run, session, &remaining, &error);
}
static ditq_status restore_run(void **made) { return ditq_run_restore(packed, saved, saved_size, (ditq_run **)made, &error); }
static ditq_status quantize_with(void **made, int32_t bits, int32_t mode, double budget) {
  ditq_quantize_options options;
  ditq_quantize_options_init(&options);
  options.weight_bits = bits, options.activation_mode = mode, options.balance_channels = mode == DITQ_ACTIVATION_STATIC;
  options.calibration_steps = 2, options.calibration_total_steps = 4, options.calibration_samples = 2, options.threads = threads();
  options.observer = DITQ_OBSERVER_MSE, options.error_budget_db = budget, options.progress = callback();
  return ditq_quantize(model, &options, (ditq_model **)made, &error);
}
/* As many rules as people write for one model: each names a layer that there is. */
static ditq_status quantize_by_rules(void **made) {
  enum { RULES = 40 };
  static char patterns[RULES][64];
  ditq_layer_rule rules[RULES];
  ditq_quantize_options options;
  ditq_quantize_options_init(&options);
  for (int i = 0; i < RULES; i++) {
    snprintf(patterns[i], sizeof *patterns, "blocks.%d.%s", i % info.depth, i % 2 ? "mlp.*" : "attn.*");
    rules[i] = (ditq_layer_rule){sizeof *rules, i % 3 ? 8 : 4, i % 3 ? 0 : 16, 0, patterns[i]};
  }
  options.rules = rules, options.rule_count = RULES, options.threads = threads(), options.progress = callback();
  return ditq_quantize(model, &options, (ditq_model **)made, &error);
}
static ditq_status quantize(void **made) { return quantize_with(made, 8, DITQ_ACTIVATION_AUTO, 0); }
/* An error budget tries formats layer by layer, which at hundreds of layers would be minutes for each refusal. */
static ditq_status quantize_calibrated(void **made) { return quantize_with(made, 4, DITQ_ACTIVATION_STATIC, info.depth == 1 ? 20 : 0); }
static ditq_status compare(void **made) {
  ditq_compare_options options = {.struct_size = sizeof options, .steps = 2, .samples = 1, .threads = threads(), .progress = callback()};
  return ditq_compare(model, packed, &options, (ditq_report **)made, &error);
}
static ditq_status save(void **made) { return (void)made, ditq_model_save(packed, target, &error); }
static ditq_status describe(void **made) {
  static char text[1 << 18];
  size_t needed;
  (void)made;
  return ditq_model_describe_json(packed, text, sizeof text, &needed, &error);
}
static ditq_status find(void **made) {
  int32_t label;
  (void)made;
  return ditq_model_find_class(model, "no such name", &label, &error) == DITQ_NOT_FOUND ? DITQ_OK : error.status;
}
static ditq_status write_png(void **made) {
  enum { TEXTS = 300 };
  ditq_png_text texts[TEXTS];
  (void)made;
  for (int i = 0; i < TEXTS; i++) texts[i] = (ditq_png_text){"Title", i % 2 ? "apple" : "Ärger"};
  return ditq_png_write(target, saved, 16, 16, 3, texts, TEXTS, &error);
}
static const float weights[64 * 64] = {1, 2, 3};
static ditq_status make_linear(void **made) {
  ditq_linear_options options = {.struct_size = sizeof options, .allocator = allocator()};
  return ditq_linear_create(weights, NULL, 64, 64, &options, (ditq_linear **)made, &error);
}
static ditq_status apply_linear(void **made) {
  static float y[64 * 64];
  ditq_status status = ditq_linear_create(weights, NULL, 64, 64, NULL, (ditq_linear **)made, &error);
  if (status == DITQ_OK) status = ditq_linear_apply((ditq_linear *)*made, weights, 64, y, 2, &error);
  if (status != DITQ_OK) ditq_linear_destroy((ditq_linear *)*made), *made = NULL;
  return status;
}
/* Threads 0: as many as there are CPUs. */
static ditq_status apply_at_once(void **made) {
  static float y[64 * 64];
  return (void)made, ditq_linear_apply(linear, weights, 64, y, 0, &error);
}

static void close_model(void *made) { ditq_model_close((ditq_model *)made); }
static void destroy_session(void *made) { ditq_session_destroy((ditq_session *)made); }
static void destroy_run(void *made) { ditq_run_destroy((ditq_run *)made); }
static void destroy_report(void *made) { ditq_report_destroy((ditq_report *)made); }
static void destroy_linear(void *made) { ditq_linear_destroy((ditq_linear *)made); }
static void remove_file(void *made) { (void)made, unlink(target); }

static const struct { const char *name; ditq_status (*call)(void **); void (*undo)(void *); } operations[] = {
    {"open", open_path, close_model}, {"open_packed", open_packed, close_model}, {"open_reader", open_reader, close_model}, {"verify", verify, NULL},
    {"session", make_session, destroy_session}, {"session_memory", measure_session, NULL},
    {"denoise", denoise, NULL}, {"generate", generate, NULL}, {"run_create", make_run, destroy_run}, {"run_step", step_run, NULL}, {"run_restore", restore_run, destroy_run},
    {"quantize", quantize, close_model}, {"quantize_calibrated", quantize_calibrated, close_model},
    {"quantize_by_rules", quantize_by_rules, close_model}, {"compare", compare, destroy_report},
    {"save", save, remove_file}, {"describe", describe, NULL}, {"find_class", find, NULL}, {"png_write", write_png, remove_file},
    {"linear_create", make_linear, destroy_linear}, {"linear_apply", apply_linear, destroy_linear},
    {"apply_at_once", apply_at_once, NULL}};

/* ---- Trying each k ---- */

static void require(int truth, const char *what, const char *name, long k) {
  if (truth) return;
  printf("FAILED  %s at %ld: %s; status %d, %s\n", name, k, what, error.status, error.message);
  exit(1);
}

/* One refusal: 0 where nothing was left to be refused. `left` is how many more pieces of memory are held than before. */
static int try_one(size_t index, long k, long *left) {
  const char *name = operations[index].name;
  void *made = NULL;
  const long before = heap_live;
  memset(&error, 0, sizeof error), error.struct_size = sizeof error;
  begin(k);
  const ditq_status status = operations[index].call(&made);
  const int refused = end();
  if (status != DITQ_OK) {
    require(refused && status == (is("callback") ? DITQ_CANCELLED : DITQ_OUT_OF_MEMORY), "another status", name, k);
    require(error.status == status && error.message[0], "no sentence", name, k);
    require(made == NULL, "the out parameter was written", name, k);
    require(access(target, F_OK) != 0, "a file is left", name, k);
  } else if (operations[index].undo) operations[index].undo(made);
  *left = heap_live - before;
  return refused;
}

static void try_all(size_t index, long every) {
  long refusals = 0, left = 0;
  for (long k = 1, refused = 1; refused; k += every) {
    refused = try_one(index, k, &left);
    refusals += refused;
    /* libc keeps what it needs for threads that have ended, and takes it again: only what is left each time is lost. */
    for (int again = 0; again < 3 && left > 0; again++) try_one(index, k, &left);
    require(left <= 0, "memory is left", operations[index].name, k);
  }
  require(heap_misfits == 0, "aligned_alloc was asked for a size that is no multiple of the alignment", operations[index].name, 0);
  printf("%s %ld\n", operations[index].name, refusals);
}

/* The bytes for the reader: the file itself, or what was saved of a directory. */
static void read_bytes(void) {
  FILE *stream = fopen(checkpoint, "rb");
  bytes = malloc(1 << 24);
  byte_count = stream && bytes ? fread(bytes, 1, 1 << 24, stream) : 0;
  if (stream) fclose(stream);
  if (byte_count || !(stream = fopen(packed_path, "rb"))) return;
  byte_count = fread(bytes, 1, 1 << 24, stream);
  heads = 0;
  fclose(stream);
}

static int prepare(void) {
  void *made = NULL;
  if (open_path(&made) != DITQ_OK) return 0;
  model = (ditq_model *)made, made = NULL;
  if (quantize(&made) != DITQ_OK || ditq_model_save((ditq_model *)made, packed_path, &error) != DITQ_OK) return 0;
  packed = (ditq_model *)made, made = NULL;
  if (open_packed(&made) != DITQ_OK) return 0;
  stored = (ditq_model *)made, made = NULL;
  info.struct_size = sizeof info;
  if (ditq_model_describe(packed, &info, &error) != DITQ_OK) return 0;
  read_bytes();
  if (make_session(&made) != DITQ_OK) return 0;
  session = (ditq_session *)made, made = NULL;
  if (make_linear(&made) != DITQ_OK) return 0;
  linear = (ditq_linear *)made, made = NULL;
  if (make_run(&made) != DITQ_OK) return 0;
  run = (ditq_run *)made;
  return byte_count && ditq_run_save(run, saved, sizeof saved, &saved_size, &error) == DITQ_OK;
}

int main(int count, char **argument) {
  if (count < 5) return 2;
  fault = argument[1], checkpoint = argument[2], heads = atoi(argument[3]), folder = argument[4];
  snprintf(target, sizeof target, "%s/made", folder);
  snprintf(packed_path, sizeof packed_path, "%s/packed.ditq", folder);
  setvbuf(stdout, NULL, _IOLBF, 1024);
  error.struct_size = sizeof error;
  if (!prepare()) return printf("FAILED  %s\n", error.message), 1;
  for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
    if (count < 7 || strcmp(argument[6], operations[i].name) == 0) try_all(i, count > 5 ? atol(argument[5]) : 1);
  printf("phases %d%d%d%d%d\n", phases[0], phases[1], phases[2], phases[3], phases[4]);
  return 0;
}
