/*
 * ditq.h — Diffusion Transformers (DiT) on any CPU, behind a plain C interface.
 *
 *   open a model  →  make a session  →  generate pixels  →  write a PNG
 *
 *     ditq_model *model = NULL;  ditq_session *session = NULL;  ditq_error error = DITQ_ERROR_INIT;
 *     if (ditq_model_open("emoji.safetensors", NULL, &model, &error) != DITQ_OK) return fail(error.message);
 *     if (ditq_session_create(model, NULL, &session, &error) != DITQ_OK) return fail(error.message);
 *     int32_t label = 0;  uint64_t seed = 7;  uint8_t rgb[32 * 32 * 3];
 *     if (ditq_generate(session, &label, &seed, 1, NULL, rgb, sizeof rgb, &error) != DITQ_OK) return fail(error.message);
 *     ditq_png_write("apple.png", rgb, 32, 32, 3, NULL, 0, &error);
 *     ditq_session_destroy(session);  ditq_model_close(model);
 *
 * What the library promises
 *   - It never aborts, exits, prints, installs a signal handler, changes the locale or reads an environment variable.
 *     Whatever bytes a model file holds, a call answers with a status.
 *   - The same model, labels, seeds and options give the same bytes on every CPU, instruction set, thread count and build.
 *   - A ditq_model is immutable: any number of threads may share it. A ditq_session serves one call at a time; different
 *     sessions are independent. ditq_session_cancel is the one call that any thread may make on a busy session.
 *   - Nothing is global. After ditq_session_create, generating allocates nothing.
 *   - In a child of fork() everything goes on as in the parent, but for sessions with threads of their own: threads stay behind,
 *     so that calls on these answer DITQ_UNSUPPORTED there. Destroying them is allowed.
 *   - Structs only grow at the end; each but ditq_png_text begins with struct_size, set it to sizeof: one of an older header, which is shorter,
 *     is taken with 0 for what it has not, a longer one where what this version does not know is 0. Enumerators keep their numbers for ever.
 *     What is reserved is 0.
 *
 * Conventions: shapes are [a, b, c] with the last index fastest; _size is in bytes, _count in elements; strings are UTF-8 and
 * NUL-terminated; every `options` and `error` pointer may be NULL (defaults; no text wanted); destroy(NULL) does nothing;
 * out parameters are untouched unless the call returns DITQ_OK, except that of an array of images those finished before may be there.
 * Options with an _init function: call it, then change fields. In the others a field of 0 is its default.
 *
 * Files are written whole or not at all: under a temporary name beside the final one, which is then replaced. A file that is replaced keeps its
 * permissions, and its owner and group where this process may give them (else no group gains what it had not); symbolic links stay, and what they
 * lead to is replaced. A file without any permission to write is refused, to root too. Other hard links to a replaced file keep the old contents, and
 * access lists and extended attributes are not carried over. A pipe or a device is written to as it is; a pipe that nobody reads is refused at once.
 * Nothing of this, nor a limit on the size of files, raises a signal in the host: the answer is DITQ_IO_FAILED.
 * The one signal that may come of a call is SIGBUS, of a mapped file that was truncated (see ditq_model_open_reader), on whichever thread reads it.
 * Messages are one line: control characters of names and paths are shown as \n, \x1b, \u0085.
 */
#ifndef DITQ_H
#define DITQ_H

#include <stddef.h>
#include <stdint.h>

/* The library itself is compiled without the annotations, so that it may check for the NULL that a host passes all the same. */
#if defined(__clang__) && !defined(DITQ_IMPLEMENTATION)
#define DITQ_NONNULL _Nonnull
#define DITQ_NULLABLE _Nullable
#pragma clang diagnostic push
#pragma clang diagnostic ignored "-Wnullability-extension"
#else
#define DITQ_NONNULL
#define DITQ_NULLABLE
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---- Version ------------------------------------------------------------------------------------------------------------ */

#define DITQ_ABI_VERSION 1 /* the major number of the shared library: libditq.so.1 */

/* The ABI version of the library that is loaded: compare with DITQ_ABI_VERSION before anything else. */
uint32_t ditq_abi_version(void);
/* "1.0.0", static. */
const char *DITQ_NONNULL ditq_version(void);
/*
 * The layout of every public struct as JSON, {"ditq_error": {"size": 512, "fields": {"status": [4, 4], …}}, …} with [offset, size]:
 * a binding can check itself when it loads. Static.
 */
const char *DITQ_NONNULL ditq_abi_layout(void);

/* ---- Status and errors -------------------------------------------------------------------------------------------------- */

typedef int32_t ditq_status;
enum {
  DITQ_OK = 0,
  DITQ_INVALID_ARGUMENT = 1, /* a parameter is out of range, NULL where it may not be, or a buffer is too small */
  DITQ_NOT_FOUND = 2,        /* no such file, class name, layer or tensor */
  DITQ_IO_FAILED = 3,        /* the system refused to read or write; the message has its reason */
  DITQ_MALFORMED = 4,        /* the bytes are not what they claim to be; or what a model makes is no finite number */
  DITQ_UNSUPPORTED = 5,      /* well-formed, but not something this version runs; a session made before a fork */
  DITQ_OUT_OF_MEMORY = 6,
  DITQ_CANCELLED = 7,        /* ditq_session_cancel, or a callback that asked to stop */
  DITQ_CHECKSUM_MISMATCH = 8,
  DITQ_INTERNAL = 9          /* a bug of ours: please report it */
};

/* "DITQ_MALFORMED" for 4, "DITQ_UNKNOWN" for a number that is no status. Static. */
const char *DITQ_NONNULL ditq_status_name(ditq_status status);

/* Filled by the call that failed, never by a call that returned DITQ_OK. The sentence names what was found and what was expected. */
typedef struct ditq_error {
  uint32_t struct_size;
  ditq_status status;
  char message[504];
} ditq_error;
#define DITQ_ERROR_INIT {sizeof(ditq_error), 0, {0}} /* nothing is written into one whose struct_size is 0 */

/* ---- Hooks a host may supply -------------------------------------------------------------------------------------------- */

/* Where an opened model's weights, a session's memory and the weights of ditq_linear come from; all else is the system's. `allocate` returns NULL when
   there is no more; alignment is a power of two. Needed until the model, and every session and quantized model that was made from it, is gone. */
typedef struct ditq_allocator {
  uint32_t struct_size;
  uint32_t reserved;
  void *DITQ_NULLABLE context;
  void *DITQ_NULLABLE (*DITQ_NULLABLE allocate)(void *DITQ_NULLABLE context, size_t size, size_t alignment);
  void (*DITQ_NULLABLE deallocate)(void *DITQ_NULLABLE context, void *DITQ_NULLABLE pointer, size_t size, size_t alignment);
} ditq_allocator;

/*
 * Bytes at any place, by their offset: a flash partition, a member of an archive, a stream that is decrypted. `read` fills all of buffer and
 * returns 0; anything else is a failure, which ends the call with DITQ_IO_FAILED.
 */
typedef struct ditq_reader {
  uint32_t struct_size;
  uint32_t reserved;
  void *DITQ_NULLABLE context;
  uint64_t size; /* of all the bytes */
  int32_t (*DITQ_NULLABLE read)(void *DITQ_NULLABLE context, uint64_t offset, void *DITQ_NONNULL buffer, size_t count);
} ditq_reader;

/* What a progress callback is told. Called on the thread that made the call, at least once a step; while a model is opened at least each 100 ms, with
   the same numbers again where nothing was finished meanwhile, so that reading can be cancelled whatever a file holds (not without a clock, as on a
   machine without a system). */
typedef struct ditq_progress {
  uint32_t struct_size;
  int32_t phase;       /* DITQ_PHASE_… */
  int64_t done;        /* units finished in this phase … */
  int64_t total;       /* … of so many: steps, layers or images */
  double elapsed_seconds;
  const float *DITQ_NULLABLE latents; /* while generating, after this step: [images, channels, height, width] of the batch at hand, which has batch_limit
                                         images, or what is left, from (done - 1) / steps * batch_limit on; of all images in ditq_run_step. Valid during the call */
} ditq_progress;
enum { DITQ_PHASE_LOAD = 0, DITQ_PHASE_CALIBRATE = 1, DITQ_PHASE_QUANTIZE = 2, DITQ_PHASE_DENOISE = 3, DITQ_PHASE_DECODE = 4 };
/* Return 0 to go on; anything else ends the call with DITQ_CANCELLED and leaves every handle usable. */
typedef int32_t (*ditq_progress_callback)(void *DITQ_NULLABLE context, const ditq_progress *DITQ_NONNULL progress);

/* ---- Models ------------------------------------------------------------------------------------------------------------- */

typedef struct ditq_model ditq_model;

typedef struct ditq_model_options {
  uint32_t struct_size;
  int32_t compatibility; /* DITQ_COMPATIBILITY_…; AUTO = what the file records, else by its layout */
  const ditq_allocator *DITQ_NULLABLE allocator;
  const char *DITQ_NULLABLE expected_sha256; /* 64 hexadecimal digits: refuse any other file with DITQ_CHECKSUM_MISMATCH */
  ditq_progress_callback DITQ_NULLABLE progress;
  void *DITQ_NULLABLE progress_context;
  int32_t head_count; /* attention heads of a checkpoint that does not say: official files have no config. 0 = as config_json, its metadata, the file beside it or its training say, else the published sizes */
  int32_t reserved;
  const char *DITQ_NULLABLE config_json; /* what the file does not say: a JSON object of the fields of "ditq.config", see ditq_model_open */
  const char *DITQ_NULLABLE decoder;     /* a directory that AutoencoderKL saved, or a pipeline that has one in vae/: joins any model of its latents, in place of its own */
  const char *DITQ_NULLABLE variant;     /* "fp16", …: which of the variants that directories hold of their weights; a part that has it not is taken without */
} ditq_model_options;
/* Two public code bases run the same DiT weights with small numerical differences; a golden comparison must say which. */
enum { DITQ_COMPATIBILITY_AUTO = 0, DITQ_COMPATIBILITY_OFFICIAL = 1, DITQ_COMPATIBILITY_DIFFUSERS = 2 };

/*
 * Open a model from a path:
 *   - a .ditq file: quantized, mapped into memory, ready at once;
 *   - a diffusers pipeline directory (model_index.json, transformer/, vae/, scheduler/; safetensors or torch .bin, whole or sharded with an
 *     index). The scheduler that model_index.json names, DDIMScheduler, DDPMScheduler or DPMSolverMultistepScheduler, is the model's sampler, by
 *     its settings and diffusers' defaults; settings that are not implemented are DITQ_UNSUPPORTED, with the field. Of weights side by side those
 *     are taken that diffusers takes: shards of safetensors, a safetensors file, a .bin, shards of .bin; "files" in ditq_model_describe_json names them;
 *   - a safetensors checkpoint in the layout of the public DiT release. Sizes follow from the tensors; the file may say more in its
 *     metadata, under the key "ditq.config" (JSON: head_count, compatibility, pixel_space, class_names, sampler, …; steps and guidance_scale
 *     inform people through ditq_model_describe_json, options have their own defaults);
 *   - the same layout as torch.save writes it since torch 1.6 (.pt): a dict of tensors, or one that holds it up to two keys deep. An average over
 *     the steps of training ("ema", "model_ema", "ema_state_dict", …) goes before "model", "state_dict", "module" and the like, these before any
 *     other key; "source" in ditq_model_describe_json says which was taken, and which average was not, and why. The pickle is read, never run: what no
 *     tensor depends on may be of any class, and a weight that is of one which torch does not give plain numbers is refused by its name.
 * A prefix before all names of the transformer ("module.", "_orig_mod.", …) is dropped in both kinds of single files, and named in "source".
 * What the public layout does not say (heads, prediction, whether there is "no class", pixels or latents) is asked of options->config_json, the file's
 * metadata, NAME.ditq.json beside it (NAME with its extension or without), "args" of a training checkpoint and the published sizes, in this order; what
 * is assumed then is listed as "assumed" by ditq_model_describe_json. Fields of other names, and facts that the tensors contradict, are refused. The
 * fields: docs/format.md. expected_sha256 is that of the checkpoint alone.
 * Weights are F32, F16 or BF16, used in place from the mapped file (copied only where torch saved them in another order than row-major);
 * all arithmetic is float32.
 */
ditq_status ditq_model_open(const char *DITQ_NONNULL path, const ditq_model_options *DITQ_NULLABLE options,
                            ditq_model *DITQ_NULLABLE *DITQ_NONNULL model, ditq_error *DITQ_NULLABLE error);
/* The same from the bytes of one file (safetensors, .ditq or .pt), which the caller keeps alive and unchanged until the model, and every session, run
   and quantized model that was made from it, is gone. */
ditq_status ditq_model_open_memory(const void *DITQ_NONNULL data, size_t size, const ditq_model_options *DITQ_NULLABLE options,
                                   ditq_model *DITQ_NULLABLE *DITQ_NONNULL model, ditq_error *DITQ_NULLABLE error);
/*
 * The same through a reader, called on this thread alone and not again once the call has returned. The bytes are copied, once, into memory of
 * options->allocator: first the last one is read, so that a size that is not there takes no memory, then all in order, up to 4 MiB at a time,
 * with options->progress told before each such piece. What happens afterwards to where they came from does not matter: so this is also the
 * way to open a file that somebody may truncate or overwrite, which a mapped one does not survive (SIGBUS; ditq_model_open maps).
 */
ditq_status ditq_model_open_reader(const ditq_reader *DITQ_NONNULL reader, const ditq_model_options *DITQ_NULLABLE options,
                                   ditq_model *DITQ_NULLABLE *DITQ_NONNULL model, ditq_error *DITQ_NULLABLE error);
/* Sessions hold the model they were made from: closing it under them is allowed. */
void ditq_model_close(ditq_model *DITQ_NULLABLE model);

typedef struct ditq_model_info {
  uint32_t struct_size;
  int32_t image_height, image_width, image_channels;     /* pixels; channels is 3 or 1; all 0 for a latent model without a decoder */
  int32_t latent_height, latent_width, latent_channels;  /* what the transformer denoises; equals the image for a pixel-space model */
  int32_t patch_size, hidden_size, depth, head_count;
  int32_t class_count;                                   /* labels are 0 … class_count-1; class_count is "no class", where the model has it ("null_class") */
  int32_t weight_bits, weight_group, activation_bits;    /* of most layers; 32, 0, 32 for a float model */
  int32_t has_decoder;                                   /* 1: latents go through a VAE decoder that the model holds */
  uint64_t parameter_count;
  uint64_t weights_size;                                 /* bytes that the weights take in memory */
  uint64_t macs_per_forward;                             /* multiply-accumulates of one transformer call on one image */
  int32_t output_channels;                               /* of what the transformer predicts: 2 × latent_channels with a learned variance */
  int32_t reserved;
} ditq_model_info;
ditq_status ditq_model_describe(const ditq_model *DITQ_NONNULL model, ditq_model_info *DITQ_NONNULL info, ditq_error *DITQ_NULLABLE error);
/* Everything as JSON: architecture, layers, the settings recorded in the file, class names. Copies up to capacity bytes with the NUL; *needed is the full size. */
ditq_status ditq_model_describe_json(const ditq_model *DITQ_NONNULL model, char *DITQ_NULLABLE buffer, size_t capacity, size_t *DITQ_NONNULL needed,
                                     ditq_error *DITQ_NULLABLE error);
/* The name of a label, or NULL where the model names none. Valid while the model is open. */
const char *DITQ_NULLABLE ditq_model_class_name(const ditq_model *DITQ_NONNULL model, int32_t label);
/*
 * The label of a name: a whole name or one of its comma-separated aliases, first as they are written, then without regard to ASCII case; white space around
 * them does not count. An alias that several classes have is, as it is written, that of the last, as in diffusers. Where a name is the whole name of several
 * classes, or of one while that rule gives another, DITQ_INVALID_ARGUMENT names the labels. DITQ_NOT_FOUND names the nearest: names that contain this one first.
 */
ditq_status ditq_model_find_class(const ditq_model *DITQ_NONNULL model, const char *DITQ_NONNULL name, int32_t *DITQ_NONNULL label, ditq_error *DITQ_NULLABLE error);
/* Reads every byte and compares the checksums that a .ditq file records. DITQ_UNSUPPORTED for a model that did not come from one. */
ditq_status ditq_model_verify(const ditq_model *DITQ_NONNULL model, ditq_error *DITQ_NULLABLE error);
/* Writes a quantized model as a .ditq file: a safetensors file that is opened like any other, and used in place. A file that the model's weights are
   mapped from, or those of the model that it was made from, is refused under any of its names (DITQ_INVALID_ARGUMENT). Byte by byte: docs/format.md. */
ditq_status ditq_model_save(const ditq_model *DITQ_NONNULL model, const char *DITQ_NONNULL path, ditq_error *DITQ_NULLABLE error);

/* ---- Quantization ------------------------------------------------------------------------------------------------------- */

/*
 * Where an activation's range comes from. The paper's recipe is STATIC with calibration_steps = 1. It needs no pass over the data while running (what an NPU
 * wants), and it clips whatever later steps bring that the first did not show: ditq_compare tells how much. DYNAMIC costs a CPU next to nothing.
 */
enum { DITQ_ACTIVATION_AUTO = 0,              /* what gives the best result on this hardware: now DYNAMIC_PER_TOKEN */
       DITQ_ACTIVATION_STATIC = 1,            /* one range a layer, measured while calibrating */
       DITQ_ACTIVATION_STATIC_PER_STEP = 2,   /* one range a layer and range of timesteps */
       DITQ_ACTIVATION_DYNAMIC_PER_TOKEN = 3, /* each token's own range, measured as it runs */
       DITQ_ACTIVATION_NONE = 4 };            /* float activations: only the weights are quantized */
enum { DITQ_OBSERVER_MINMAX = 0,     /* a static range holds all values seen */
       DITQ_OBSERVER_PERCENTILE = 1, /* all but the outermost 0.005 % at either end */
       DITQ_OBSERVER_MSE = 2 };      /* clipped, by the same share at both ends, to where the squared error is least */
enum { DITQ_WEIGHT_AUTO = 0,    /* the best that needs no more than the calibration: now GPTQ for 4 bits, ROUND for 8 */
       DITQ_WEIGHT_ROUND = 1,   /* round to nearest in the row's or group's min-max range */
       DITQ_WEIGHT_MSE = 2,     /* the clipping of least squared error, group by group */
       DITQ_WEIGHT_GPTQ = 3 };  /* round columns in turn, spreading the error by the calibration inputs' second moments (Frantar et al. 2023) */
enum { DITQ_KEEP_FLOAT = 32 };

/*
 * Overrides for the layers whose name matches a pattern: "blocks.*.mlp.fc2", "*.adaLN_modulation.1", '*' for any run of characters. The last match wins.
 * A pattern that begins with "vae." is about the decoder's convolutions of 3×3, which no other is, and which stay in float unless it says 8 bits: "vae.*".
 */
typedef struct ditq_layer_rule {
  uint32_t struct_size;
  int32_t weight_bits;     /* 4, 8 or DITQ_KEEP_FLOAT; 0 = as the options say */
  int32_t weight_group;    /* a multiple of 16; 0 = the whole row, so a rule left at zeros asks for rows; -1 = as the options say */
  int32_t activation_bits; /* 8 or DITQ_KEEP_FLOAT; 0 = as the options say */
  const char *DITQ_NONNULL pattern;
} ditq_layer_rule;

/* Static ranges, GPTQ and balance are calibrated: on runs as those of ditq_compare, both halves of the batch, labels spread over the classes. If only GPTQ
   needs it, the network runs in 8 bits at about 12 of the steps, and each prediction is used again up to the next of them. */
typedef struct ditq_quantize_options {
  uint32_t struct_size;
  int32_t weight_bits;            /* 8 (default) or 4 */
  int32_t weight_group;           /* inputs that share a scale: a multiple of 16; 0 = the whole row; -1 = automatic (default): the row for 8 bits, 128 for 4 */
  int32_t weight_method;          /* DITQ_WEIGHT_… */
  int32_t activation_bits;        /* 8 (default) */
  int32_t activation_mode;        /* DITQ_ACTIVATION_… */
  int32_t observer;               /* DITQ_OBSERVER_… */
  int32_t calibration_steps;      /* 1: the first sampling step alone, where the noise is strongest (the paper); n: n steps spread over the whole run; default 8 */
  int32_t calibration_total_steps;/* length of the sampling run that those steps are taken from; default 50 */
  int32_t calibration_samples;    /* images calibrated on; default 16 */
  uint64_t calibration_seed;
  int32_t balance_channels;       /* 1: move outlier channels from activations into weights, folded away before running; default 0. As far as what is
                                     calibrated on vouches for it: by one step, or by fewer than 4 images, counted at each step, nothing is moved,
                                     and the model's JSON says "balanced": false */
  int32_t threads;                /* 0 = every core */
  double error_budget_db;         /* 0 = off; else raise the worst layers' bits until the output SQNR reaches this many dB */
  const ditq_layer_rule *DITQ_NULLABLE rules;
  size_t rule_count;
  ditq_progress_callback DITQ_NULLABLE progress;
  void *DITQ_NULLABLE progress_context;
} ditq_quantize_options;
void ditq_quantize_options_init(ditq_quantize_options *DITQ_NONNULL options);

/*
 * Quantizes a float model. qkv, proj, fc1, fc2 and attention of every block run on integers, adaLN linears keep float activations, the rest stays float,
 * unless a rule says otherwise. 8-bit weights are symmetric, w ≈ scale · p; 4-bit ones in groups have zero points, w ≈ scale · (q − zero).
 * Closed-form: no training, no gradient. The same model comes out on every machine. The source is left as it was, and may be closed;
 * bytes given to ditq_model_open_memory are needed on, because layers that stay in float stand there.
 *
 * Static ranges are checked after calibrating, at up to four other steps and for other images: the share that they clip is in the model's JSON,
 * "calibration": "clipped", by step, and "clipped_by_layer". Balanced channels cost nothing while running. With an error budget, the layers
 * whose rounding hurts the output most for their size get 8 bits, and where that is not enough stay in float; "raised" says which.
 * Calibrating ends with DITQ_MALFORMED at the first layer that is given what is no finite number: its name, the class and the step are said.
 */
ditq_status ditq_quantize(const ditq_model *DITQ_NONNULL source, const ditq_quantize_options *DITQ_NULLABLE options,
                          ditq_model *DITQ_NULLABLE *DITQ_NONNULL quantized, ditq_error *DITQ_NULLABLE error);

/* ---- What quantization cost --------------------------------------------------------------------------------------------- */

typedef struct ditq_report ditq_report;
typedef struct ditq_compare_options {
  uint32_t struct_size;
  int32_t steps;          /* sampling steps compared; default 50 */
  int32_t samples;        /* images; default 8 */
  int32_t threads;
  uint64_t seed;
  int32_t free_running;   /* 0 (default): both models are fed the float model's latents at each step; 1: each follows its own */
  int32_t reserved;
  ditq_progress_callback DITQ_NULLABLE progress;
  void *DITQ_NULLABLE progress_context;
} ditq_compare_options;
/*
 * Runs two models on the same noise and measures the second against the first: SQNR = 10·log10(Σ ref² / Σ (ref − out)²) in dB,
 * for the predicted noise at each step and for the input and output of each quantized layer at each step, with the share of
 * activations clipped, bytes, multiply-accumulates and time. A guided run at scale 4, both halves measured, or at 1 where the reference has
 * no "no class"; by DDIM, or by Euler's method where velocity is predicted. Layers are those that `model` has quantized, and a layer's input is
 * what each model gives it before quantizing; 300 dB where nothing differs. Where a model predicts what is no finite number, DITQ_MALFORMED names
 * the step, the model and the class.
 */
ditq_status ditq_compare(const ditq_model *DITQ_NONNULL reference, const ditq_model *DITQ_NONNULL model, const ditq_compare_options *DITQ_NULLABLE options,
                         ditq_report *DITQ_NULLABLE *DITQ_NONNULL report, ditq_error *DITQ_NULLABLE error);
/* The measured text: one JSON object, or the same as CSV with a row for each layer and step, in which prediction_sqnr_db is that of the step's predicted
   noise. Times are seconds of a step of up to four guided images, multiply-accumulates those of one call on one image. Valid until the report is destroyed. */
const char *DITQ_NONNULL ditq_report_json(const ditq_report *DITQ_NONNULL report);
const char *DITQ_NONNULL ditq_report_csv(const ditq_report *DITQ_NONNULL report);
/* Output SQNR in dB over all steps together; step ≥ 0 for one of them, NaN for one that was not taken. */
double ditq_report_sqnr_db(const ditq_report *DITQ_NONNULL report, int32_t step);
void ditq_report_destroy(ditq_report *DITQ_NULLABLE report);

/* ---- Sessions ----------------------------------------------------------------------------------------------------------- */

typedef struct ditq_session ditq_session;

typedef struct ditq_session_options {
  uint32_t struct_size;
  int32_t threads;      /* 0 (default) = every core this process may use; 1 = the caller's thread alone, none is started */
  int32_t batch_limit;  /* images denoised together; default 1 */
  int32_t isa_limit;    /* DITQ_ISA_…: use nothing better than this; 0 (default) = the best this CPU has */
  const ditq_allocator *DITQ_NULLABLE allocator;
  void *DITQ_NULLABLE arena;  /* 64-byte aligned memory to work in instead of allocating: see ditq_session_memory */
  size_t arena_size;
} ditq_session_options;
enum { DITQ_ISA_BEST = 0, DITQ_ISA_GENERIC = 1, DITQ_ISA_AVX2 = 2, DITQ_ISA_AVX512VNNI = 3,
       DITQ_ISA_NEON_DOT = 4,   /* aarch64 with the dot product of Armv8.2 */
       DITQ_ISA_NEON_I8MM = 5 };/* and the 8-bit matrix multiplication of Armv8.6 */

/* Exactly how many bytes a session with these options works in. */
ditq_status ditq_session_memory(const ditq_model *DITQ_NONNULL model, const ditq_session_options *DITQ_NULLABLE options, size_t *DITQ_NONNULL size,
                                ditq_error *DITQ_NULLABLE error);
ditq_status ditq_session_create(const ditq_model *DITQ_NONNULL model, const ditq_session_options *DITQ_NULLABLE options,
                                ditq_session *DITQ_NULLABLE *DITQ_NONNULL session, ditq_error *DITQ_NULLABLE error);
void ditq_session_destroy(ditq_session *DITQ_NULLABLE session);
/* Ask the call in progress to end, with DITQ_CANCELLED: within 100 ms whatever the sizes of the model, where its threads have a core each; where one
   image of latents or pixels takes gigabytes, within the time that copying it takes. From any thread or a signal handler. Does nothing on an idle
   session. */
void ditq_session_cancel(ditq_session *DITQ_NONNULL session);
typedef struct ditq_session_info {
  uint32_t struct_size;
  int32_t isa;          /* DITQ_ISA_…, what it computes with */
  int32_t threads, batch_limit;
  uint64_t memory_size; /* bytes that it works in, see ditq_session_memory */
} ditq_session_info;
ditq_status ditq_session_describe(const ditq_session *DITQ_NONNULL session, ditq_session_info *DITQ_NONNULL info, ditq_error *DITQ_NULLABLE error);
/* What really runs, as JSON: instruction set, threads, bytes, step times of the last call. Like ditq_model_describe_json. */
ditq_status ditq_session_describe_json(const ditq_session *DITQ_NONNULL session, char *DITQ_NULLABLE buffer, size_t capacity, size_t *DITQ_NONNULL needed,
                                       ditq_error *DITQ_NULLABLE error);

/* ---- Generating --------------------------------------------------------------------------------------------------------- */

/*
 * Most go by what a diffusion predicts (noise, the image, or v), FLOW_EULER by the velocity of a flow, HEUN by either: one that does not fit the model is
 * DITQ_UNSUPPORTED. Whichever is chosen follows what the model records of its schedule (betas, timestep spacing and offset, clipping, v_prediction, …),
 * as diffusers' from_config takes it over from one scheduler to another; but where the model's own sampler has its usual spacing, the chosen one has
 * its own: DDIM and DDPM leading (with DITQ_COMPATIBILITY_OFFICIAL respaced), DPM-Solver++ and Heun linspace; and nothing is clipped that the file of a solver does
 * not clip. In DITQ_COMPATIBILITY_DIFFUSERS the schedule is torch's, in single precision.
 */
enum { DITQ_SAMPLER_AUTO = 0,        /* what the model records, else DDIM */
       DITQ_SAMPLER_DDIM = 1,        /* Song et al. 2021; eta adds noise */
       DITQ_SAMPLER_DDPM = 2,        /* ancestral, with the learned variance where the model has one (Nichol & Dhariwal 2021) and records no fixed one */
       DITQ_SAMPLER_DPMPP_2M = 3,    /* DPM-Solver++ multistep, order 2 (Lu et al. 2022) */
       DITQ_SAMPLER_FLOW_EULER = 4,  /* straight paths, for flow-matching weights such as SiT */
       DITQ_SAMPLER_HEUN = 5,        /* two predictions a step, and their mean; the last step takes one (Karras et al. 2022, as diffusers' HeunDiscreteScheduler) */
       DITQ_SAMPLER_DPMPP_3M = 6 };  /* DPM-Solver++ multistep, order 3 */
/* "dpmpp_2m" for 3, "auto" for 0, NULL for a number that is no sampler: from 0 on, all that there are come before the first NULL. Static. */
const char *DITQ_NULLABLE ditq_sampler_name(int32_t sampler);
enum { DITQ_RANDOM_TORCH = 0,   /* the numbers of torch.Generator("cpu").manual_seed(seed), to within 1e-6; the low 32 bits of the seed count */
       DITQ_RANDOM_PHILOX = 1 };/* counter-based: independent of batch and order */

typedef struct ditq_generate_options {
  uint32_t struct_size;
  int32_t sampler;
  int32_t steps;                 /* 1 to the model's training steps, 1000 (999 with DPM-Solver++), and what its spacing and offset have timesteps for;
                                    default 50 */
  int32_t random;                /* DITQ_RANDOM_… */
  double guidance_scale;         /* classifier-free guidance, 0 to 1000; 1 = none, and half the work, and all that a model without "no class" takes; default 4 */
  double guidance_begin;         /* guide only where this ≤ progress < end, 0 = first step, 1 = past the last; defaults 0 and 1 */
  double guidance_end;
  int32_t guidance_channels;     /* channels guided: 0 (default) = what the model's compatibility says: official the first 3 of what the network puts
                                    out, which with fewer than 3 latent channels includes a learned variance; diffusers all latent channels */
  int32_t reserved;
  double eta;                    /* DDIM noise, 0 … 1; default 0, and 0 with the other samplers */
  const float *DITQ_NULLABLE noise; /* [count, channels, height, width] start from these latents instead of the seeds */
  ditq_progress_callback DITQ_NULLABLE progress;
  void *DITQ_NULLABLE progress_context;
} ditq_generate_options;
void ditq_generate_options_init(ditq_generate_options *DITQ_NONNULL options);

/*
 * Generate images from class labels.
 *
 *   labels  [count]  0 … class_count-1, or class_count for "no class"
 *   seeds   [count]  one an image: the same seed gives the same image, alone or in any batch; NULL only with options->noise and a sampler without noise
 *   pixels  [count, image_height, image_width, image_channels]  0 … 255; pixels_size bytes are there
 *
 * count may exceed the session's batch limit: the images are then made in several batches.
 *
 * Where latents or pixels stop being finite numbers, because weights are none or lead beyond what a float holds, as a large guidance scale may, the
 * call ends with DITQ_MALFORMED and a sentence that names the step and the image; so do the calls below. Labels, noise, timesteps and latents are
 * checked before anything is made, and again as they are copied, batch after batch: one that has changed is DITQ_INVALID_ARGUMENT then.
 */
ditq_status ditq_generate(ditq_session *DITQ_NONNULL session, const int32_t *DITQ_NONNULL labels, const uint64_t *DITQ_NULLABLE seeds, size_t count,
                          const ditq_generate_options *DITQ_NULLABLE options, uint8_t *DITQ_NONNULL pixels, size_t pixels_size,
                          ditq_error *DITQ_NULLABLE error);
/* The same, stopping before the decoder: latents [count, latent_channels, latent_height, latent_width], scaled as the transformer sees them. */
ditq_status ditq_denoise(ditq_session *DITQ_NONNULL session, const int32_t *DITQ_NONNULL labels, const uint64_t *DITQ_NULLABLE seeds, size_t count,
                         const ditq_generate_options *DITQ_NULLABLE options, float *DITQ_NONNULL latents, size_t latents_size,
                         ditq_error *DITQ_NULLABLE error);
/* Latents to pixels: the VAE decoder where the model has one, else clamping to 0 … 255. */
ditq_status ditq_decode(ditq_session *DITQ_NONNULL session, const float *DITQ_NONNULL latents, size_t count, uint8_t *DITQ_NONNULL pixels, size_t pixels_size,
                        ditq_error *DITQ_NULLABLE error);
/* The same before rounding: [count, image_height, image_width, image_channels], 0 … 1 nominally and not clamped. */
ditq_status ditq_decode_float(ditq_session *DITQ_NONNULL session, const float *DITQ_NONNULL latents, size_t count, float *DITQ_NONNULL values, size_t values_size,
                              ditq_error *DITQ_NULLABLE error);
/*
 * One call of the transformer, for hosts with a sampler of their own. No guidance: pass both halves of a guided batch.
 *   x [count, latent_channels, latent_height, latent_width] · timesteps [count] · labels [count]
 *   output [count, output_channels, latent_height, latent_width]; output_channels is 2 × latent_channels for a model with learned variance
 */
ditq_status ditq_predict(ditq_session *DITQ_NONNULL session, const float *DITQ_NONNULL x, const float *DITQ_NONNULL timesteps, const int32_t *DITQ_NONNULL labels,
                         size_t count, float *DITQ_NONNULL output, size_t output_size, ditq_error *DITQ_NULLABLE error);

/* ---- One step at a time ------------------------------------------------------------------------------------------------- */

/*
 * A run holds a denoising under way. It can be left between steps, saved as bytes, and resumed later, elsewhere, on another
 * instruction set, with the same result to the bit. A run belongs to no session: pass any session of the same model. It serves one call at a time.
 */
typedef struct ditq_run ditq_run;
/* Arguments as for ditq_denoise, checked and copied, but for options->progress, which is called in each step: its answer may still undo the step.
   What options leave to the model, such as DITQ_SAMPLER_AUTO, is settled here: a step by another model that records something else is the same. */
ditq_status ditq_run_create(const ditq_model *DITQ_NONNULL model, const int32_t *DITQ_NONNULL labels, const uint64_t *DITQ_NULLABLE seeds, size_t count,
                            const ditq_generate_options *DITQ_NULLABLE options, ditq_run *DITQ_NULLABLE *DITQ_NONNULL run, ditq_error *DITQ_NULLABLE error);
/* One sampling step; *remaining is how many are left. DITQ_INVALID_ARGUMENT when none is. A step that was cancelled, or whose latents were no finite
   numbers, did not happen. */
ditq_status ditq_run_step(ditq_run *DITQ_NONNULL run, ditq_session *DITQ_NONNULL session, int32_t *DITQ_NONNULL remaining, ditq_error *DITQ_NULLABLE error);
typedef struct ditq_run_info {
  uint32_t struct_size;
  int32_t sampler;            /* DITQ_SAMPLER_…, the one that runs, never AUTO */
  int32_t steps, steps_taken;
  uint64_t count;             /* images */
} ditq_run_info;
ditq_status ditq_run_describe(const ditq_run *DITQ_NONNULL run, ditq_run_info *DITQ_NONNULL info, ditq_error *DITQ_NULLABLE error);
/* The latents as they are, and the model's present guess of the finished ones (for a preview; zeros before the first step); either may be NULL. latents_size bytes each. */
ditq_status ditq_run_latents(const ditq_run *DITQ_NONNULL run, float *DITQ_NULLABLE latents, float *DITQ_NULLABLE guess, size_t latents_size,
                             ditq_error *DITQ_NULLABLE error);
/* Up to capacity bytes are written and *needed is the full size; call with capacity 0 to learn it. It is the same at every step. */
ditq_status ditq_run_save(const ditq_run *DITQ_NONNULL run, void *DITQ_NULLABLE buffer, size_t capacity, size_t *DITQ_NONNULL needed, ditq_error *DITQ_NULLABLE error);
/* Whatever the bytes are, the answer is a status. Architecture, class count and sampling settings of the model must be those it was saved with. */
ditq_status ditq_run_restore(const ditq_model *DITQ_NONNULL model, const void *DITQ_NONNULL bytes, size_t size, ditq_run *DITQ_NULLABLE *DITQ_NONNULL run,
                             ditq_error *DITQ_NULLABLE error);
void ditq_run_destroy(ditq_run *DITQ_NULLABLE run);

/* ---- PNG (libpng) ------------------------------------------------------------------------------------------------------- */

typedef struct ditq_png_text {
  const char *DITQ_NONNULL key;  /* 1 … 79 Latin-1 characters */
  const char *DITQ_NONNULL text; /* UTF-8, stored as an iTXt chunk */
} ditq_png_text;
/* Write 8-bit pixels [height, width, channels], channels 1 (grey), 3 (RGB) or 4 (RGBA). The file appears whole or not at all. */
ditq_status ditq_png_write(const char *DITQ_NONNULL path, const uint8_t *DITQ_NONNULL pixels, int32_t width, int32_t height, int32_t channels,
                           const ditq_png_text *DITQ_NULLABLE texts, size_t text_count, ditq_error *DITQ_NULLABLE error);
/* The same into memory: up to capacity bytes are written and *needed is the full size; call with capacity 0 to learn it. */
ditq_status ditq_png_encode(const uint8_t *DITQ_NONNULL pixels, int32_t width, int32_t height, int32_t channels, const ditq_png_text *DITQ_NULLABLE texts,
                            size_t text_count, void *DITQ_NULLABLE buffer, size_t capacity, size_t *DITQ_NONNULL needed, ditq_error *DITQ_NULLABLE error);

/* ---- The GEMM by itself ------------------------------------------------------------------------------------------------- */

/* A weight matrix quantized and packed for this CPU. Immutable and shareable, like a model. */
typedef struct ditq_linear ditq_linear;
typedef struct ditq_linear_options {
  uint32_t struct_size;
  int32_t weight_bits;      /* 8 (also 0) or 4, with 8-bit activations; DITQ_KEEP_FLOAT = float weights and activations */
  int32_t weight_group;     /* inputs that share a scale, a multiple of 16; 0 = the whole row */
  int32_t weight_method;    /* DITQ_WEIGHT_ROUND (also AUTO) or DITQ_WEIGHT_MSE */
  int32_t activation_mode;  /* DITQ_ACTIVATION_STATIC: the range below; DYNAMIC_PER_TOKEN (also AUTO): measured for each row of x */
  int32_t isa_limit;        /* DITQ_ISA_… */
  float activation_min, activation_max; /* of DITQ_ACTIVATION_STATIC, widened to include 0; from 0 to 0, all of x counts as 0 */
  const ditq_allocator *DITQ_NULLABLE allocator;
} ditq_linear_options;
/* weights [outputs, inputs], row-major, as a torch Linear holds them; bias [outputs] or NULL. */
ditq_status ditq_linear_create(const float *DITQ_NONNULL weights, const float *DITQ_NULLABLE bias, int32_t outputs, int32_t inputs,
                               const ditq_linear_options *DITQ_NULLABLE options, ditq_linear *DITQ_NULLABLE *DITQ_NONNULL linear,
                               ditq_error *DITQ_NULLABLE error);
/*
 * y [rows, outputs] = quantized(x [rows, inputs]) · quantized(weights)ᵀ + bias, the sums over inputs exact in integers (in float: one chain of
 * fused multiply-adds along the inputs). At most 65536 inputs. threads as for a session; they and working memory are kept for the next call.
 * Any address will do; x and y at multiples of 64 bytes are fastest.
 */
ditq_status ditq_linear_apply(const ditq_linear *DITQ_NONNULL linear, const float *DITQ_NONNULL x, size_t rows, float *DITQ_NONNULL y, int32_t threads,
                              ditq_error *DITQ_NULLABLE error);
void ditq_linear_destroy(ditq_linear *DITQ_NULLABLE linear);

#ifdef __cplusplus
}
#endif
#if defined(__clang__) && !defined(DITQ_IMPLEMENTATION)
#pragma clang diagnostic pop
#endif
#endif /* DITQ_H */
