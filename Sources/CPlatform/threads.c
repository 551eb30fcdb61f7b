/*
 * The library's own threads. A host's signals are for its own threads: none of ours receives one that is sent to the process. What a thread's own
 * fault raises is for that thread alone, and a host's handler is to see it: blocked, it would end the process unheard. So a truncated mapped
 * file is SIGBUS for the host's handler, whichever thread reads it first.
 */
#include "CPlatform.h"

int ditqp_thread_start(pthread_t *thread, void *(*entry)(void *), void *context, size_t stack_size) {
  static const int faults[] = {SIGBUS, SIGSEGV, SIGILL, SIGFPE, SIGTRAP, SIGSYS};
  sigset_t others, before;
  pthread_attr_t attributes;
  int result = pthread_attr_init(&attributes);
  if (result != 0) return result;
  result = pthread_attr_setstacksize(&attributes, stack_size);
  sigfillset(&others);
  for (size_t i = 0; i < sizeof faults / sizeof *faults; i++) sigdelset(&others, faults[i]);
  if (result == 0) result = pthread_sigmask(SIG_SETMASK, &others, &before);
  if (result == 0) {
    result = pthread_create(thread, &attributes, entry, context);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
  }
  pthread_attr_destroy(&attributes);
  return result;
}
