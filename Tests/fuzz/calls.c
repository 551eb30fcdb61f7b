/*
 * Sequences of calls with arguments of every kind. The input is a program: a byte chooses a call, the next ones its arguments, among them handles
 * of a few that live, NULL, numbers at the edges of what is allowed and buffers of exactly the size that is told. What it left is closed. Programs
 * are short, so that there are many: see LONGEST and STEPS.
 */
#include "fuzz.h"

enum { HANDLES = 3, IMAGES = 3, LATENTS = 64, PIXELS = 8 * 8 * 3, LONGEST = 12, STEPS = 16 };
static ditq_model *base, *models[HANDLES];
static ditq_session *sessions[HANDLES];
static ditq_run *runs[HANDLES];
static ditq_linear *linears[HANDLES];
static ditq_report *report;
static input program;
static int patience; /* how many more callbacks of this call say "go on" */
static int steps;    /* how many more steps this program may take: what is quick is tried often */

static int32_t number(void) {
  static const int32_t edges[] = {-1, 0, 1, 2, 3, 4, 8, 16, 32, 64, 128, 999, 1000, 1001, 65536, 65537, INT32_MAX, INT32_MIN};
  uint8_t byte = next(&program);
  return byte < 160 ? byte % 5 : byte < 250 ? edges[byte % (sizeof edges / sizeof *edges)] : next(&program) << 16 | next(&program);
}
static double real(void) {
  static const double edges[] = {0, 1, 4, 0.5, -1, 1e-310, 1e308, -0.0, 1.0 / 3, 1e-9, 1000, 100000};
  uint8_t byte = next(&program);
  if (byte > 250) return byte % 2 ? strtod("nan", NULL) : strtod("-inf", NULL);
  return edges[byte % (sizeof edges / sizeof *edges)];
}
/* `of` one time in two: a program that is all wrong would not get far. */
static int32_t mostly(int32_t of) { return next(&program) % 2 ? of : number(); }
static int chance(int of) { return next(&program) % of == 0; }
static size_t index_of(void) { return next(&program) % HANDLES; }
static ditq_error *wanted(void) { return start(), &error; }

static int32_t progress(void *context, const ditq_progress *told) {
  expect(context == &program && told->done >= 0 && told->done <= told->total && told->elapsed_seconds >= 0, "progress makes sense");
  if (told->phase != DITQ_PHASE_LOAD && steps-- <= 0) return 1;
  return patience <= 0 || !patience--;
}
static void *take(void *context, size_t size, size_t alignment) {
  expect(context == &program && size > 0, "an allocator is asked for something");
  return size > 64 << 20 || chance(16) ? NULL : aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}
static void give(void *context, void *memory, size_t size, size_t alignment) { (void)context, (void)size, (void)alignment, free(memory); }
static const ditq_allocator allocator = {sizeof allocator, 0, &program, take, give};

/* Floats, some of them none; freed by the caller. */
static float *floats(size_t count) {
  float *values = malloc(count * sizeof *values + 1);
  for (size_t i = 0; i < count; i++) values[i] = (float)(int8_t)(i * 37 + count) / 50;
  if (count && chance(3)) values[next(&program) % count] = (float)real();
  return values;
}

static ditq_session *session(void) {
  size_t i = index_of();
  if (!sessions[i]) {
    ditq_session_options options = {.struct_size = sizeof options, .threads = 1 + chance(8), .batch_limit = 1 + chance(3), .isa_limit = mostly(0)};
    if (chance(3)) options.allocator = &allocator;
    if (chance(8)) options.threads = number() % 8, options.batch_limit = number() % 64;
    ditq_model *of = models[index_of()];
    size_t size = 0;
    if (!of) of = base;
    if (!ok(ditq_session_memory(of, &options, &size, wanted())) || size > 64 << 20) return NULL;
    ok(ditq_session_create(of, &options, &sessions[i], wanted()));
  }
  return sessions[i];
}

static void open_model_of_bytes(void) {
  static const char *const files[] = {MODELS "/float.safetensors", MODELS "/../corpus/ditq/w4", MODELS "/../corpus/ditq/static", MODELS "/../corpus/torch/plain", MODELS "/pipeline"};
  size_t i = index_of(), file = next(&program) % 5;
  ditq_model_options options = {.struct_size = sizeof options, .compatibility = mostly(0), .head_count = mostly(2), .progress = progress, .progress_context = &program};
  if (chance(3)) options.allocator = &allocator;
  ditq_model_close(models[i]);
  models[i] = NULL;
  ok(ditq_model_open(files[file], chance(8) ? NULL : &options, &models[i], wanted()));
}

static void quantize(void) {
  static const char *const patterns[] = {"*", "blocks.*.mlp.fc?", "vae.*", "blocks.0.attn.qkv", ""};
  ditq_quantize_options options;
  ditq_quantize_options_init(&options);
  ditq_layer_rule rules[2];
  for (int i = 0; i < 2; i++)
    rules[i] = (ditq_layer_rule){.struct_size = sizeof *rules, .weight_bits = mostly(4), .weight_group = mostly(16), .activation_bits = mostly(8), .pattern = patterns[next(&program) % 5]};
  options.weight_bits = chance(2) ? 4 : mostly(8), options.weight_group = mostly(-1), options.weight_method = mostly(0);
  options.activation_mode = mostly(3), options.observer = mostly(0), options.balance_channels = mostly(0);
  options.calibration_steps = mostly(2), options.calibration_total_steps = mostly(4), options.calibration_samples = mostly(1), options.threads = 1;
  options.error_budget_db = chance(3) ? real() : 0;
  options.rules = rules, options.rule_count = next(&program) % 3;
  options.progress = progress, options.progress_context = &program;
  ditq_model *of = models[index_of()], *made = NULL;
  if (ok(ditq_quantize(of ? of : base, &options, &made, wanted()))) {
    size_t i = index_of();
    ditq_model_close(models[i]);
    models[i] = made;
  }
}

static void compare(void) {
  ditq_compare_options options = {.struct_size = sizeof options, .steps = mostly(2), .samples = mostly(1), .threads = 1, .seed = 1, .free_running = mostly(0)};
  options.progress = progress, options.progress_context = &program;
  ditq_model *one = models[index_of()], *two = models[index_of()];
  ditq_report *made = NULL;
  if (!ok(ditq_compare(one ? one : base, two ? two : base, &options, &made, wanted()))) return;
  ditq_report_destroy(report);
  report = made;
  expect(ditq_report_json(report)[0] == '{' && *ditq_report_csv(report), "a report has its texts");
  ditq_report_sqnr_db(report, number());
}

static ditq_generate_options generation(const float *noise) {
  ditq_generate_options options;
  ditq_generate_options_init(&options);
  options.sampler = mostly(0), options.steps = mostly(2), options.random = mostly(0);
  if (chance(3)) options.guidance_scale = real(), options.guidance_begin = real(), options.guidance_end = real();
  if (chance(4)) options.eta = real(), options.guidance_channels = number();
  options.noise = chance(3) ? noise : NULL;
  options.progress = progress, options.progress_context = &program;
  return options;
}

static void generate(int kind) {
  int32_t labels[IMAGES] = {mostly(0), mostly(1), 3};
  uint64_t seeds[IMAGES] = {1, (uint64_t)number(), UINT64_MAX};
  float *noise = floats(IMAGES * LATENTS);
  ditq_generate_options options = generation(noise);
  size_t count = chance(16) ? (size_t)number() << 32 : next(&program) % (IMAGES + 1);
  size_t room = chance(16) ? (size_t)(uint8_t)number() : IMAGES * (kind == 0 ? PIXELS : LATENTS * sizeof(float));
  void *buffer = malloc(room);
  const uint64_t *numbers = chance(8) ? NULL : seeds;
  const ditq_generate_options *given = chance(8) && count <= 1 ? NULL : &options;
  if (kind == 2) {
    size_t i = index_of();
    ditq_run_destroy(runs[i]);
    runs[i] = NULL;
    if (count <= IMAGES) ok(ditq_run_create(models[i] ? models[i] : base, labels, numbers, count, given, &runs[i], wanted()));
  } else {
    ditq_session *of = session();
    if (of && given && kind == 0) ok(ditq_generate(of, labels, numbers, count, given, buffer, room, wanted()));
    if (of && given && kind == 1) ok(ditq_denoise(of, labels, numbers, count, given, buffer, room, wanted()));
  }
  free(buffer), free(noise);
}

static void predict(void) {
  int32_t labels[IMAGES] = {mostly(0), mostly(1), 3};
  float *x = floats(IMAGES * LATENTS), times[IMAGES] = {(float)real(), 500, 0};
  size_t count = next(&program) % (IMAGES + 1), room = chance(8) ? next(&program) : IMAGES * LATENTS * 2 * sizeof(float);
  float *output = malloc(room);
  ditq_session *of = session();
  if (of) ok(ditq_predict(of, x, times, labels, count, output, room, wanted()));
  free(x), free(output);
}

static void decode(void) {
  float *latents = floats(IMAGES * LATENTS), *values = malloc(IMAGES * PIXELS * sizeof *values);
  size_t count = next(&program) % (IMAGES + 1), room = chance(8) ? next(&program) : IMAGES * PIXELS;
  ditq_session *of = session();
  if (of) ok(ditq_decode(of, latents, count, (uint8_t *)values, room, wanted()));
  if (of) ok(ditq_decode_float(of, latents, count, values, room * sizeof *values, wanted()));
  free(latents), free(values);
}

static void step(void) {
  ditq_run *run = runs[index_of()];
  ditq_session *with = session();
  int32_t remaining = -1;
  if (!run || !with) return;
  ok(ditq_run_step(run, with, &remaining, wanted()));
  float latents[IMAGES * LATENTS], guess[IMAGES * LATENTS];
  ok(ditq_run_latents(run, chance(2) ? latents : NULL, chance(2) ? guess : NULL, chance(2) ? sizeof latents : (size_t)number() % sizeof latents, wanted()));
  size_t needed = 0;
  expect(ok(ditq_run_save(run, NULL, 0, &needed, wanted())), "a run is saved");
  uint8_t *record = malloc(needed);
  size_t room = chance(4) ? next(&program) : needed, i = index_of();
  ok(ditq_run_save(run, record, room, &needed, wanted()));
  ditq_run *again = NULL;
  if (room == needed && ok(ditq_run_restore(models[i] ? models[i] : base, record, needed, &again, wanted()))) {
    ditq_run_destroy(runs[i]);
    runs[i] = again;
  }
  free(record);
}

static void linear(void) {
  size_t i = index_of();
  int32_t outputs = 1 + next(&program) % 40, inputs = 1 + next(&program) % 70;
  size_t rows = next(&program) % 20;
  if (!linears[i]) {
    ditq_linear_options options = {.struct_size = sizeof options, .weight_bits = mostly(8), .weight_group = mostly(0), .weight_method = mostly(0), .activation_mode = mostly(0), .isa_limit = mostly(0)};
    options.activation_min = (float)real(), options.activation_max = (float)real();
    if (chance(3)) options.allocator = &allocator;
    float *weights = floats((size_t)outputs * (size_t)inputs), *bias = floats((size_t)outputs);
    ok(ditq_linear_create(weights, chance(2) ? bias : NULL, outputs, inputs, chance(4) ? NULL : &options, &linears[i], wanted()));
    free(weights), free(bias);
  }
  if (!linears[i]) return;
  float *x = floats(rows * 70), *y = malloc(rows * 40 * sizeof *y + 1);
  ok(ditq_linear_apply(linears[i], x, rows, y, 1 + chance(16), wanted()));
  free(x), free(y);
}

static void texts(void) {
  ditq_model *of = models[index_of()];
  char text[600];
  size_t needed = 0, room = (size_t)number() % sizeof text;
  int32_t label = number();
  ditq_model_info info = {.struct_size = chance(4) ? (uint32_t)number() : sizeof info};
  if (info.struct_size <= sizeof info) ok(ditq_model_describe(of ? of : base, &info, wanted()));
  ok(ditq_model_describe_json(of ? of : base, text, room, &needed, wanted()));
  const char *name = ditq_model_class_name(of ? of : base, label);
  ok(ditq_model_find_class(of ? of : base, name ? name : "a, b", &label, wanted()));
  ditq_session *describing = session();
  if (describing) ok(ditq_session_describe_json(describing, text, room, &needed, wanted())), ditq_session_cancel(describing);
}

static void close_one(size_t i) {
  ditq_session_destroy(sessions[i]), ditq_model_close(models[i]), ditq_run_destroy(runs[i]), ditq_linear_destroy(linears[i]);
  sessions[i] = NULL, models[i] = NULL, runs[i] = NULL, linears[i] = NULL;
}

static void fuzz(const uint8_t *data, size_t size) {
  if (!base) base = open_model(MODELS "/float.safetensors", 2);
  program = (input){data, size};
  steps = STEPS;
  for (int calls = 0; program.size && calls < LONGEST; calls++) {
    patience = chance(4) ? number() : STEPS;
    switch (next(&program) % 16) {
    case 0: case 1: open_model_of_bytes(); break;
    case 2: quantize(); break;
    case 3: compare(); break;
    case 4: case 5: case 6: generate(next(&program) % 3); break;
    case 7: predict(); break;
    case 8: decode(); break;
    case 9: case 10: step(); break;
    case 11: linear(); break;
    case 12: texts(); break;
    case 13: { size_t i = index_of(); ditq_model_close(models[i]), models[i] = NULL; break; }
    case 14: { size_t i = index_of(); ditq_session_destroy(sessions[i]), sessions[i] = NULL; break; }
    default: close_one(index_of());
    }
  }
  for (size_t i = 0; i < HANDLES; i++) close_one(i);
  ditq_report_destroy(report);
  report = NULL;
}
