/*
 * Small memory for when there is no more. Swift's objects, lists and texts come from posix_memalign, and where it refuses, Swift ends the process. So
 * it is ours here, seen by this library alone: what the system refuses comes out of the reserve of the call in progress on this thread, whose
 * pieces are of malloc and are freed like all others. The call looks, at places that it passes often, whether it lives on its reserve, and
 * ends with a status while there is enough for that. Lists and texts as long as a file says would be more than any reserve has: before one grows, the
 * call asks for just that piece, and the next request that it is made for gets it, whoever else takes memory meanwhile.
 * Those places are also where a call asks its host whether it is to end: what belongs to a call of a thread is kept here.
 */
#include "CPlatform.h"

/* Most pieces are names and sentences; lists of a file's tensors and the texts of its header are the largest. */
static const struct { size_t size, count; } classes[DITQP_CLASSES] = {{64, 512}, {256, 128}, {1024, 64}, {4096, 32}, {32768, 8}, {262144, 8}, {2097152, 4}};
enum { SMALL_CLASSES = 5, SMALL_SHARE = 8 }; /* a small reserve: the first classes, and an eighth of their pieces */

/* In the block of the thread itself: a library that is loaded late would be given others when it first looks, by malloc. */
static _Thread_local ditqp_reserve *current __attribute__((tls_model("initial-exec")));

static void *taken(ditqp_reserve *reserve, int class) {
  void *piece = reserve->pieces[class];
  reserve->pieces[class] = *(void **)piece;
  reserve->counts[class]--;
  return piece;
}

/* The room that was asked for, where this is the list or text that it was asked for: what Swift puts in front of one is a few words. */
static void *taken_room(size_t alignment, size_t size) {
  enum { SLACK = 64 };
  if (!current || !current->room || alignment > 16 || size > current->room_size || size + SLACK < current->room_size) return NULL;
  void *room = current->room;
  current->room = NULL;
  return room;
}

__attribute__((visibility("hidden"))) int posix_memalign(void **memory, size_t alignment, size_t size) {
  *memory = taken_room(alignment, size);
  if (*memory) return 0;
  *memory = alignment <= 16 ? malloc(size) : aligned_alloc(alignment, (size + alignment - 1) & -alignment);
  if (*memory) return 0;
  if (!current || alignment > 64) return ENOMEM;
  while (__atomic_exchange_n(&current->lock, 1, __ATOMIC_ACQUIRE)) ditqp_pause();
  current->is_short = 1;
  for (int class = 0; class < DITQP_CLASSES && !*memory; class++)
    if (size <= classes[class].size && current->counts[class]) *memory = taken(current, class);
  __atomic_store_n(&current->lock, 0, __ATOMIC_RELEASE);
  return *memory ? 0 : ENOMEM;
}

ditqp_reserve *ditqp_reserve_current(void) { return current; }
void ditqp_reserve_borrow(ditqp_reserve *reserve) { current = reserve; }

static int fill(ditqp_reserve *reserve) {
  for (int class = 0; class < (reserve->is_large ? DITQP_CLASSES : SMALL_CLASSES); class++)
    for (; reserve->counts[class] < classes[class].count / (reserve->is_large ? 1 : SMALL_SHARE); reserve->counts[class]++) {
      void *piece = aligned_alloc(64, classes[class].size);
      if (!piece) return 0;
      *(void **)piece = reserve->pieces[class];
      reserve->pieces[class] = piece;
    }
  reserve->is_short = 0;
  return 1;
}

int ditqp_reserve_begin(ditqp_reserve *reserve, int is_large) {
  memset(reserve, 0, sizeof *reserve);
  reserve->is_large = is_large;
  reserve->outer = current;
  current = reserve;
  if (fill(reserve)) return 1;
  ditqp_reserve_end(reserve);
  return 0;
}

void ditqp_reserve_end(ditqp_reserve *reserve) {
  current = reserve->outer;
  free(reserve->room);
  for (int class = 0; class < DITQP_CLASSES; class++)
    while (reserve->counts[class]) free(taken(reserve, class));
}

int ditqp_ask_for_room(size_t size) {
  void *room = malloc(size);
  if (!room) return 0;
  if (!current) {
    free(room);
    return 1;
  }
  free(current->room);
  current->room = room;
  current->room_size = size;
  return 1;
}

int ditqp_memory_is_there(void) { return !current || !current->is_short || fill(current); }

void ditqp_ask_host(int (*ends)(void *context), void *context) {
  if (!current) return;
  current->ends = ends;
  current->context = context;
}

/* Whoever looks has done a little since the last look: the clock is read each 64th time, the host asked each 50 ms. */
int ditqp_call_goes_on(void) {
  enum { LOOKS = 64, NANOSECONDS = 50000000 };
  if (!current || !current->ends) return 1;
  if (current->is_ended || ++current->looks % LOOKS) return !current->is_ended;
  struct timespec clock;
  clock_gettime(CLOCK_MONOTONIC, &clock);
  uint64_t now = (uint64_t)clock.tv_sec * 1000000000 + (uint64_t)clock.tv_nsec;
  if (now < current->due) return 1;
  if (current->due) current->is_ended = current->ends(current->context) != 0;
  current->due = now + NANOSECONDS;
  return !current->is_ended;
}
