/*
 * What a host hears of a call by signals: nothing, but of the faults of mapped files, on whatever thread they come. Python hides SIGPIPE and SIGXFSZ,
 * so this is C. signals CASE MODEL FOLDER; the status is 0 when the case is as it should be, else what went wrong is said.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include "ditq.h"

#define EXPECT(condition) \
  do { if (!(condition)) return fprintf(stderr, "%d: %s; \"%s\"\n", __LINE__, #condition, error.message), 1; } while (0)

enum { SIDE = 400, SIZE = SIDE * SIDE * 3, ON_A_WORKER = 42 };
static uint8_t pixels[SIZE];
static char path[4096];

static ditq_status write_picture(ditq_error *error) { return ditq_png_write(path, pixels, SIDE, SIDE, 3, NULL, 0, error); }

/* ---- Readers of a pipe, which is open already ---- */

static int reading;
static size_t taken;

static void *read_a_little(void *context) {
  char byte;
  (void)context;
  while (read(reading, &byte, 1) != 1) usleep(1000);
  close(reading);
  return NULL;
}

static void *read_slowly(void *context) {
  static char some[5000];
  (void)context;
  fcntl(reading, F_SETFL, 0);
  for (ssize_t count; (count = read(reading, some, sizeof some)) > 0 || !taken; taken += (size_t)count) usleep(500); /* 0: no writer yet, or none any more */
  return NULL;
}

static int open_pipe(void) {
  return mkfifo(path, 0600) == 0 && (reading = open(path, O_RDONLY | O_NONBLOCK)) >= 0;
}

/* ---- Cases ---- */

/* Whatever fails, as it does once with the host's own signals waiting, which stay. */
static int fails_quietly(ditq_status (*write)(ditq_error *), int number, const char *reason) {
  ditq_error error = DITQ_ERROR_INIT;
  sigset_t before = {0}, after = {0}, waiting = {0}; /* pthread_sigmask fills the signals that there are */
  pthread_sigmask(SIG_SETMASK, NULL, &before);
  EXPECT(write(&error) == DITQ_IO_FAILED && strstr(error.message, reason));
  pthread_sigmask(SIG_SETMASK, NULL, &after);
  EXPECT(memcmp(&before, &after, sizeof before) == 0);
  EXPECT(sigpending(&waiting) == 0 && !sigismember(&waiting, SIGPIPE) && !sigismember(&waiting, SIGXFSZ));
  sigemptyset(&waiting), sigaddset(&waiting, number);
  pthread_sigmask(SIG_BLOCK, &waiting, NULL);
  raise(number);
  EXPECT(write(&error) == DITQ_IO_FAILED);
  EXPECT(sigpending(&waiting) == 0 && sigismember(&waiting, number));
  return 0;
}

static ditq_status write_into_closing_pipe(ditq_error *error) {
  pthread_t reader;
  unlink(path);
  if (!open_pipe() || pthread_create(&reader, NULL, read_a_little, NULL) != 0) return DITQ_INTERNAL;
  const ditq_status status = write_picture(error);
  pthread_join(reader, NULL);
  return status;
}

static int pipe_without_reader(void) {
  ditq_error error = DITQ_ERROR_INIT;
  ditq_model *model = NULL;
  EXPECT(mkfifo(path, 0600) == 0);
  EXPECT(write_picture(&error) == DITQ_IO_FAILED && strstr(error.message, "No such device or address"));
  EXPECT(ditq_model_open(path, NULL, &model, &error) == DITQ_IO_FAILED);
  return 0;
}

static int slow_reader(void) {
  ditq_error error = DITQ_ERROR_INIT;
  pthread_t reader;
  size_t size = 0;
  EXPECT(ditq_png_encode(pixels, SIDE, SIDE, 3, NULL, 0, NULL, 0, &size, &error) == DITQ_OK);
  EXPECT(open_pipe() && pthread_create(&reader, NULL, read_slowly, NULL) == 0);
  EXPECT(write_picture(&error) == DITQ_OK);
  pthread_join(reader, NULL);
  EXPECT(taken == size && size > 4 * 65536);
  return 0;
}

static const char *model_path;
static ditq_model *saved;
static ditq_status save(ditq_error *error) { return ditq_model_save(saved, path, error); }

static int file_limit(void) {
  ditq_error error = DITQ_ERROR_INIT;
  EXPECT(ditq_model_open(model_path, NULL, &saved, &error) == DITQ_OK);
  const struct rlimit limit = {4096, RLIM_INFINITY};
  EXPECT(setrlimit(RLIMIT_FSIZE, &limit) == 0);
  EXPECT(fails_quietly(write_picture, SIGXFSZ, "File too large") == 0);
  const sigset_t none = {0};
  signal(SIGXFSZ, SIG_IGN), pthread_sigmask(SIG_SETMASK, &none, NULL), signal(SIGXFSZ, SIG_DFL); /* the one that was raised here is gone */
  EXPECT(fails_quietly(save, SIGXFSZ, "File too large") == 0);
  return 0;
}

/* ---- A mapped file that is truncated ---- */

static pthread_t main_thread;

static void on_fault(int number, siginfo_t *information, void *context) {
  (void)number, (void)context;
  if (!pthread_equal(pthread_self(), main_thread)) _exit(ON_A_WORKER);
  const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), address = (uintptr_t)information->si_addr / page * page;
  if (mmap((void *)address, page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) _exit(1); /* zeros, and on */
}

static int fault_on_a_worker(void) {
  ditq_error error = DITQ_ERROR_INIT;
  ditq_model *model = NULL;
  ditq_session *session = NULL;
  const ditq_session_options options = {.struct_size = sizeof options, .threads = 2};
  static uint8_t picture[1 << 20];
  const int32_t label = 0;
  const uint64_t seed = 7;
  main_thread = pthread_self();
  sigaction(SIGBUS, &(const struct sigaction){.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, NULL);
  EXPECT(ditq_model_open(model_path, NULL, &model, &error) == DITQ_OK);
  EXPECT(ditq_session_create(model, &options, &session, &error) == DITQ_OK);
  EXPECT(truncate(model_path, 4096) == 0);
  (void)ditq_generate(session, &label, &seed, 1, NULL, picture, sizeof picture, &error);
  return fputs("no worker met the fault\n", stderr), 1;
}

int main(int argc, char **argv) {
  if (argc != 4) return 2;
  alarm(100); /* whatever waits for ever ends by its signal */
  model_path = argv[2];
  snprintf(path, sizeof path, "%s/written", argv[3]);
  srand(1);
  for (size_t i = 0; i < SIZE; i++) pixels[i] = (uint8_t)(rand() >> 7);
  if (!strcmp(argv[1], "closed")) return fails_quietly(write_into_closing_pipe, SIGPIPE, "Broken pipe");
  if (!strcmp(argv[1], "unread")) return pipe_without_reader();
  if (!strcmp(argv[1], "slow")) return slow_reader();
  if (!strcmp(argv[1], "limit")) return file_limit();
  if (!strcmp(argv[1], "fault")) return fault_on_a_worker();
  return 2;
}
