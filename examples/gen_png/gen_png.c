/*
 * gen_png — pictures from a Diffusion Transformer as PNG files: a whole program on ditq.h and libc alone.
 * Options → model → labels and seeds → every picture in one call → one file each, or one grid. A step returns the exit status.
 */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include "ditq.h"

#ifndef DITQ_DEFAULT_MODEL
#define DITQ_DEFAULT_MODEL "examples/models/emoji/emoji-w8a8.ditq"
#endif

enum { SUCCESS = 0, FAILED = 1, MISUSED = 2, INTERRUPTED = 130 };
enum { CLASS_LIMIT = 256, COUNT_LIMIT = 10000, BATCH_LIMIT = 8, GRID_COUNT = 16, GAP = 2, PATH_SIZE = 8192 };

static const char help_text[] =
    "usage: gen_png [--help] [option …]\n"
    "  --model PATH         a .ditq, safetensors or .pt file, or a diffusers directory (" DITQ_DEFAULT_MODEL ")\n"
    "  --config JSON        what the file does not say of its model, such as '{\"head_count\": 4}'\n"
    "  --vae DIR            the decoder to draw with: a directory that AutoencoderKL saved, or a pipeline's\n"
    "  --variant NAME       which weights of a directory, such as fp16\n"
    "  --class NAME|NUMBER  what to draw; repeat it to draw several in turn (0)\n"
    "  --seed N             seed of the first picture; the others take the next numbers (7)\n"
    "  --steps N            denoising steps (50)\n"
    "  --guidance X         classifier-free guidance, 1 = none (4, or 1 where the model has no \"no class\")\n"
    "  --sampler NAME       auto (as the model says)%s (auto)\n"
    "  --eta X              noise that ddim adds, 0 to 1 (0)\n"
    "  --threads N          threads to work with, 0 = one for every core (0)\n"
    "  --count N            pictures: out-0.png, out-1.png, … (one for each --class; 16 with --grid)\n"
    "  --grid               all pictures in one file; of the first classes where no --class is given\n"
    "  --list-classes       print the classes of the model and stop\n"
    "  -o FILE              where the picture goes (out.png)\n";

typedef struct {
  const char *model_path, *config, *vae, *variant, *output, *sampler, *classes[CLASS_LIMIT]; /* what the command line asks for; count 0: not given */
  uint64_t class_count, seed, steps, threads, count;
  bool grid, list_classes, help;
  double guidance; /* NAN: not given */
  ditq_generate_options options;
  ditq_model *model; /* what it takes to answer */
  ditq_session *session;
  ditq_model_info info;
  int32_t *labels;
  uint64_t *seeds;
  uint8_t *pixels;
  char ran[16], compatibility[16]; /* what auto stands for; whose numbers the model gives */
  size_t kinds, width, height, channels; /* classes that are drawn in turn; the size of one picture */
  int64_t steps_before, steps_done, steps_in_all; /* in earlier batches, in this one, in all: for the progress line */
  double begin, seconds; /* when generating began; its time for one picture */
} job;

/* A text of a file or a path as a terminal may see it, and a PNG: control characters as \n, \x1b, \u0085. */
static const char *shown(const char *text, char *buffer, size_t size) {
  size_t used = 0;
  for (const unsigned char *c = (const unsigned char *)text; *c && used + 7 < size; c++) {
    const bool is_c1 = c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f;
    const char *name = *c == '\n' ? "\\n" : *c == '\r' ? "\\r" : *c == '\t' ? "\\t" : NULL;
    if (name) used += (size_t)snprintf(buffer + used, size - used, "%s", name);
    else if (*c < 0x20 || *c == 0x7f) used += (size_t)snprintf(buffer + used, size - used, "\\x%02x", *c);
    else if (is_c1) used += (size_t)snprintf(buffer + used, size - used, "\\u%04x", *++c);
    else buffer[used++] = (char)*c;
  }
  buffer[used] = '\0';
  return buffer;
}

/* ", ddim, ddpm, …": what there is beside auto. */
static const char *other_samplers(char *buffer, size_t size) {
  size_t used = 0;
  *buffer = '\0';
  for (int32_t i = 1; ditq_sampler_name(i) && used < size; i++) used += (size_t)snprintf(buffer + used, size - used, ", %s", ditq_sampler_name(i));
  return buffer;
}

/* The last name of a path. */
static const char *base(const char *path) {
  for (const char *c = path; *c; c++) path = c[0] == '/' && c[1] ? c + 1 : path;
  return path;
}

/* One line, whatever the texts in it hold. */
static void say(FILE *file, const char *format, ...) {
  char line[3 * PATH_SIZE], safe[4 * PATH_SIZE];
  va_list values;
  va_start(values, format);
  vsnprintf(line, sizeof line, format, values);
  va_end(values);
  fprintf(file, "%s\n", shown(line, safe, sizeof safe));
}

/* One sentence on stderr; the value is the exit status. */
#define FAIL(status, ...) (say(stderr, "gen_png: " __VA_ARGS__), (status))

/* What the library refuses, which names its own options, in the words of the command line. */
static int refused(const ditq_error *error) {
  static const char *const words[][2] = {{"guidance_scale", "--guidance"}, {"steps", "--steps"}, {"sampler", "--sampler"},
                                         {"eta", "--eta"}, {"threads", "--threads"}};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    const size_t length = strlen(words[i][0]);
    if (strncmp(error->message, words[i][0], length) == 0 && error->message[length] == ':') return FAIL(FAILED, "%s%s", words[i][1], error->message + length);
  }
  return FAIL(FAILED, "%s", error->message);
}

static int parse_whole(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *number) {
  char *end;
  errno = 0;
  *number = strtoull(text, &end, 10);
  if (*text >= '0' && *text <= '9' && !*end && !errno && *number >= least && *number <= most) return SUCCESS;
  return FAIL(MISUSED, "%s: a whole number from %" PRIu64 " to %" PRIu64 " expected, \"%s\" found", option, least, most, text);
}

static int parse_decimal(const char *option, const char *text, double least, double most, double *number) {
  char *end;
  *number = strtod(text, &end);
  if (*text && strchr("-.0123456789", *text) && !*end && *number >= least && *number <= most) return SUCCESS;
  return FAIL(MISUSED, "%s: a number from %g to %g expected, \"%s\" found", option, least, most, text);
}

static int parse(job *j, int argc, char **argv) {
  const struct { const char *name; bool *flag; const char **text, **list; double *decimal; uint64_t *whole, least, most; } options[] = {
      {.name = "--model", .text = &j->model_path}, {.name = "--config", .text = &j->config},
      {.name = "--vae", .text = &j->vae}, {.name = "--variant", .text = &j->variant}, {.name = "--sampler", .text = &j->sampler}, {.name = "-o", .text = &j->output},
      {.name = "--grid", .flag = &j->grid}, {.name = "--list-classes", .flag = &j->list_classes}, {.name = "--help", .flag = &j->help},
      {.name = "--class", .list = j->classes}, {.name = "--guidance", .decimal = &j->guidance},
      {.name = "--eta", .decimal = &j->options.eta},
      {.name = "--seed", .whole = &j->seed, .most = UINT64_MAX}, {.name = "--threads", .whole = &j->threads, .most = INT32_MAX},
      {.name = "--steps", .whole = &j->steps, .least = 1, .most = INT32_MAX},
      {.name = "--count", .whole = &j->count, .least = 1, .most = COUNT_LIMIT},
  };
  int status = SUCCESS;
  for (int i = 1; i < argc && status == SUCCESS; i++) {
    size_t o = 0, option_count = sizeof options / sizeof *options;
    while (o < option_count && strcmp(argv[i], options[o].name) != 0) o++;
    if (o == option_count) return FAIL(MISUSED, "an option that gen_png --help lists expected, \"%s\" found", argv[i]);
    const char *name = argv[i], *value = options[o].flag ? "" : argv[++i]; /* argv ends with a NULL */
    if (!value) return FAIL(MISUSED, "%s: a value expected, nothing found", name);
    if (options[o].list && j->class_count == CLASS_LIMIT) return FAIL(MISUSED, "%s: at most %d expected, more found", name, CLASS_LIMIT);
    if (options[o].list) options[o].list[j->class_count++] = value;
    if (options[o].flag) *options[o].flag = true;
    if (options[o].text) *options[o].text = value;
    if (options[o].decimal) status = parse_decimal(name, value, -1000, 1000, options[o].decimal);
    if (options[o].whole) status = parse_whole(name, value, options[o].least, options[o].most, options[o].whole);
  }
  if (status != SUCCESS) return status;
  struct stat there;
  const size_t length = strlen(j->output);
  const bool is_png = length > 4 && strcasecmp(j->output + length - 4, ".png") == 0;
  const bool is_file = stat(j->output, &there) != 0 || S_ISREG(there.st_mode); /* a pipe or a device takes what it is given */
  if (!is_png && is_file) return FAIL(MISUSED, "-o: a name that ends in .png expected, \"%s\" found: gen_png writes PNG files", j->output);
  char known[256];
  for (int32_t i = 0; ditq_sampler_name(i); i++)
    if (strcmp(j->sampler, ditq_sampler_name(i)) == 0) return j->options.sampler = i, SUCCESS;
  return FAIL(MISUSED, "--sampler: auto%s expected, \"%s\" found", other_samplers(known, sizeof known), j->sampler);
}

static const char *class_name(const job *j, int32_t label, char buffer[32]) {
  const char *name = ditq_model_class_name(j->model, label);
  if (!name) snprintf(buffer, 32, label == j->info.class_count ? "no class" : "class %" PRId32, label);
  return name ? name : buffer;
}

static int find_class(const job *j, const char *text, int32_t *label) {
  ditq_error error = DITQ_ERROR_INIT;
  uint64_t number = 0;
  const bool is_number = *text && !text[strspn(text, "0123456789")];
  if (is_number && parse_whole("--class", text, 0, (uint64_t)j->info.class_count, &number) != SUCCESS) return MISUSED;
  *label = (int32_t)number;
  const bool found = is_number || ditq_model_find_class(j->model, text, label, &error) == DITQ_OK;
  return found ? SUCCESS : refused(&error);
}

/* The file of a picture: apple-3.png for the fourth of several. What does not fit is longer than any system takes, and refused there. */
static void file_path(const job *j, size_t index, char path[PATH_SIZE]) {
  const char *dot = strrchr(j->output, '.');
  if (!dot || dot == j->output || dot[-1] == '/' || strchr(dot, '/')) dot = j->output + strlen(j->output);
  if (j->grid || j->count == 1) snprintf(path, PATH_SIZE, "%s", j->output);
  else snprintf(path, PATH_SIZE, "%.*s-%zu%s", (int)(dot - j->output), j->output, index, dot);
}

/* What stands in the model's description between `before` and `end`: what comes of the file's own texts stands behind those that are asked for. */
static void copy_part(const char *json, const char *before, const char *end, char *part, size_t size) {
  const char *found = strstr(json, before);
  snprintf(part, size, "%.*s", found ? (int)strcspn(found + strlen(before), end) : 0, found ? found + strlen(before) : "");
}

static int describe(job *j) {
  ditq_error error = DITQ_ERROR_INIT;
  size_t needed = 0;
  j->info.struct_size = sizeof j->info;
  if (ditq_model_describe(j->model, &j->info, &error) != DITQ_OK) return refused(&error);
  if (ditq_model_describe_json(j->model, NULL, 0, &needed, &error) != DITQ_OK) return refused(&error);
  char *json = malloc(needed);
  if (!json) return FAIL(FAILED, "not enough memory for the model's description");
  const ditq_status status = ditq_model_describe_json(j->model, json, needed, &needed, &error);
  if (status == DITQ_OK) {
    char assumed[256];
    copy_part(json, "\"compatibility\": \"", "\"", j->compatibility, sizeof j->compatibility);
    copy_part(json, "\"assumed\": [", "]", assumed, sizeof assumed);
    copy_part(json, "\"sampling\": {\"sampler\": \"", "\"", j->ran, sizeof j->ran);
    if (*assumed) say(stderr, "gen_png: %s: assumed, as nobody said it: %s; say it with --config", j->model_path, assumed);
    if (!isnan(j->guidance)) j->options.guidance_scale = j->guidance;
    else if (strstr(json, "\"null_class\": false")) j->options.guidance_scale = 1;
    if (j->options.sampler != DITQ_SAMPLER_AUTO) snprintf(j->ran, sizeof j->ran, "%s", j->sampler);
  }
  free(json);
  return status == DITQ_OK ? SUCCESS : refused(&error);
}

static int choose(job *j) {
  int32_t classes[CLASS_LIMIT];
  for (size_t i = 0; i < j->class_count; i++) {
    const int status = find_class(j, j->classes[i], &classes[i]);
    if (status != SUCCESS) return status;
  }
  j->kinds = j->class_count ? j->class_count : j->grid && j->info.class_count > 0 ? (size_t)j->info.class_count : 1;
  if (!j->count) j->count = j->grid ? GRID_COUNT : j->kinds;
  if (j->info.image_width == 0)
    return FAIL(FAILED, "%s: a model that makes pictures expected: this one makes latents, and has no decoder beside it (vae/ in a diffusers directory)", j->model_path);
  j->width = (size_t)j->info.image_width, j->height = (size_t)j->info.image_height, j->channels = (size_t)j->info.image_channels;
  j->labels = calloc(j->count, sizeof *j->labels), j->seeds = calloc(j->count, sizeof *j->seeds);
  j->pixels = calloc(j->count, j->width * j->height * j->channels);
  if (!j->labels || !j->seeds || !j->pixels) return FAIL(FAILED, "not enough memory for %" PRIu64 " pictures", j->count);
  for (size_t i = 0; i < j->count; i++) {
    j->seeds[i] = j->seed + i;
    j->labels[i] = j->class_count ? classes[i % j->kinds] : (int32_t)(i % j->kinds);
  }
  for (size_t i = 0; i < (j->grid ? 1 : j->count); i++) {
    struct stat model, output;
    char path[PATH_SIZE];
    file_path(j, i, path);
    if (stat(j->model_path, &model) == 0 && stat(path, &output) == 0 && model.st_dev == output.st_dev && model.st_ino == output.st_ino)
      return FAIL(FAILED, "%s: another file than the model expected, which the picture would replace", path);
  }
  return SUCCESS;
}

static volatile sig_atomic_t interrupted;
static ditq_session *volatile running;

static void on_interrupt(int number) {
  interrupted = number;
  if (running) ditq_session_cancel(running);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static int32_t on_progress(void *context, const ditq_progress *progress) {
  job *j = context;
  if (progress->phase == DITQ_PHASE_DENOISE && isatty(STDERR_FILENO)) {
    if (progress->done < j->steps_done) j->steps_before += j->steps_done; /* the next batch */
    j->steps_done = progress->done;
    fprintf(stderr, "\rstep %" PRId64 "/%" PRId64 "  %.1f s\033[K", j->steps_before + j->steps_done, j->steps_in_all, now() - j->begin);
  }
  return interrupted;
}

static int generate(job *j) {
  ditq_error error = DITQ_ERROR_INIT;
  const uint64_t batch = j->count < BATCH_LIMIT ? j->count : BATCH_LIMIT;
  const ditq_session_options session = {.struct_size = sizeof session, .threads = (int32_t)j->threads, .batch_limit = (int32_t)batch};
  if (ditq_session_create(j->model, &session, &j->session, &error) != DITQ_OK) return refused(&error);
  j->options.steps = (int32_t)j->steps;
  j->options.progress = on_progress, j->options.progress_context = j;
  j->steps_in_all = (int64_t)(j->steps * ((j->count + batch - 1) / batch));
  running = j->session;
  sigaction(SIGINT, &(const struct sigaction){.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND}, NULL);
  const size_t size = j->count * j->width * j->height * j->channels;
  j->begin = now();
  const ditq_status status = ditq_generate(j->session, j->labels, j->seeds, j->count, &j->options, j->pixels, size, &error);
  j->seconds = (now() - j->begin) / (double)j->count;
  running = NULL;
  if (isatty(STDERR_FILENO)) fputs("\r\033[K", stderr);
  return status == DITQ_OK || interrupted ? SUCCESS : refused(&error);
}

/* As %g writes it, with as many digits as it takes to read the same number again. */
static void decimal(double value, char text[32]) {
  static const int digits[] = {6, 15, 16, 17};
  for (size_t i = 0; i < sizeof digits / sizeof *digits; i++) {
    snprintf(text, 32, "%.*g", digits[i], value);
    if (strtod(text, NULL) == value) return;
  }
}

/* Writes pictures first … first + count - 1 into one file: as square as possible, with white gaps between and around them. */
static int save(const job *j, size_t first, size_t count, size_t gap) {
  char path[PATH_SIZE], software[64], model[PATH_SIZE], names[4096] = "", labels[4096] = "", seeds[48], steps[16], guidance[32], eta[32];
  char config[4096], decoder[PATH_SIZE], variant[256];
  char buffer[32], safe[4096];
  file_path(j, first, path);
  size_t columns = 1, used = 0, used_by_labels = 0, row_size = j->width * j->channels;
  while (columns * columns < count) columns++;
  const size_t width = columns * (j->width + gap) + gap, height = (count + columns - 1) / columns * (j->height + gap) + gap;
  uint8_t *sheet = malloc(width * height * j->channels);
  if (!sheet) return FAIL(FAILED, "%s: not enough memory for %zux%zu pixels", path, width, height);
  memset(sheet, 255, width * height * j->channels);
  for (size_t row = 0; row < count * j->height; row++) {
    const size_t i = row / j->height, y = i / columns * (j->height + gap) + gap + row % j->height, x = i % columns * (j->width + gap) + gap;
    memcpy(sheet + (y * width + x) * j->channels, j->pixels + (first * j->height + row) * row_size, row_size);
  }
  for (size_t i = 0; i < count && i < j->kinds; i++) {
    const char *name = shown(class_name(j, j->labels[first + i], buffer), safe, sizeof safe);
    if (used + strlen(name) + 3 > sizeof names) break; /* whole names only */
    used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", i ? "; " : "", name);
  }
  for (size_t i = 0; i < count && i < j->kinds && used_by_labels + 16 < sizeof labels; i++)
    used_by_labels += (size_t)snprintf(labels + used_by_labels, sizeof labels - used_by_labels, "%s%" PRId32, i ? "; " : "", j->labels[first + i]);
  const int length = snprintf(seeds, sizeof seeds, "%" PRIu64, j->seeds[first]);
  if (count > 1) snprintf(seeds + length, sizeof seeds - (size_t)length, "-%" PRIu64, j->seeds[first + count - 1]);
  snprintf(software, sizeof software, "libditq %s", ditq_version());
  snprintf(steps, sizeof steps, "%" PRIu64, j->steps), decimal(j->options.guidance_scale, guidance), decimal(j->options.eta, eta);
  ditq_png_text texts[14] = {
      {"Software", software}, {"Model", shown(base(j->model_path), model, sizeof model)}, {"Compatibility", j->compatibility}, {"Class", names},
      {"Label", labels}, {"Seed", seeds}, {"Steps", steps}, {"Guidance", guidance}, {"Sampler", j->ran}, {"Random", "torch"}};
  size_t text_count = 10;
  if (j->options.eta > 0) texts[text_count++] = (ditq_png_text){"Eta", eta};
  if (j->config) texts[text_count++] = (ditq_png_text){"Config", shown(j->config, config, sizeof config)};
  if (j->vae) texts[text_count++] = (ditq_png_text){"Decoder", shown(base(j->vae), decoder, sizeof decoder)};
  if (j->variant) texts[text_count++] = (ditq_png_text){"Variant", shown(j->variant, variant, sizeof variant)};
  ditq_error error = DITQ_ERROR_INIT;
  const ditq_status status = ditq_png_write(path, sheet, (int32_t)width, (int32_t)height, (int32_t)j->channels, texts, text_count, &error);
  free(sheet);
  if (status != DITQ_OK) return refused(&error);
  if (count > 1) snprintf(names, sizeof names, "%zu pictures", count);
  say(stdout, "%s: %s, %zux%zu, seed %s, %s steps, %.2f s", path, names, width, height, seeds, steps, j->seconds * (double)count);
  return SUCCESS;
}

static int run(job *j) {
  ditq_error error = DITQ_ERROR_INIT;
  char buffer[32], known[256];
  if (j->help) return printf(help_text, other_samplers(known, sizeof known)) < 0 ? FAILED : SUCCESS;
  const ditq_model_options opening = {.struct_size = sizeof opening, .config_json = j->config, .decoder = j->vae, .variant = j->variant};
  if (ditq_model_open(j->model_path, &opening, &j->model, &error) != DITQ_OK) return refused(&error);
  int status = describe(j);
  if (status != SUCCESS) return status;
  for (int32_t i = 0; j->list_classes && i < j->info.class_count; i++) say(stdout, "%" PRId32 "  %s", i, class_name(j, i, buffer));
  if (j->list_classes) return SUCCESS;
  status = choose(j);
  if (status == SUCCESS) status = generate(j);
  const size_t together = j->grid ? j->count : 1;
  for (size_t i = 0; i < j->count && status == SUCCESS && !interrupted; i += together) status = save(j, i, together, j->grid ? GAP : 0);
  return interrupted ? FAIL(INTERRUPTED, "interrupted") : status;
}

int main(int argc, char **argv) {
  const uint32_t version = ditq_abi_version();
  if (version != DITQ_ABI_VERSION) return FAIL(FAILED, "libditq ABI %d expected, %" PRIu32 " found", DITQ_ABI_VERSION, version);
  job j = {.model_path = DITQ_DEFAULT_MODEL, .output = "out.png", .sampler = "auto", .seed = 7, .steps = 50, .guidance = NAN};
  j.options.struct_size = sizeof j.options;
  ditq_generate_options_init(&j.options);
  int status = parse(&j, argc, argv);
  if (status == SUCCESS) status = run(&j);
  ditq_session_destroy(j.session), ditq_model_close(j.model);
  free(j.labels), free(j.seeds), free(j.pixels);
  return status;
}
