/*
 * Writing files so that the host hears of it by a status alone, and finds what it had: its signals, and a file's owner and permissions.
 * No handler is installed and nothing is ignored: the signals are kept from this thread while it writes.
 */
#define _GNU_SOURCE
#include "CPlatform.h"
#include <dirent.h>

intptr_t ditqp_write(int descriptor, const void *bytes, size_t size) {
  sigset_t ours, before, waiting;
  sigemptyset(&ours);
  sigaddset(&ours, SIGPIPE), sigaddset(&ours, SIGXFSZ);
  if (pthread_sigmask(SIG_BLOCK, &ours, &before) != 0) return -1;
  sigemptyset(&waiting);
  (void)sigpending(&waiting);
  const intptr_t count = write(descriptor, bytes, size);
  const int number = errno;
  /* The signal of this write, now waiting for this thread, is taken back; one that waited before is the host's own. Careful: a pipe that is closed in
     the midst raises it too, where a part was written. */
  if (count != (intptr_t)size) {
    if (sigismember(&waiting, SIGPIPE)) sigdelset(&ours, SIGPIPE);
    if (sigismember(&waiting, SIGXFSZ)) sigdelset(&ours, SIGXFSZ);
    const struct timespec none = {0, 0};
    while (sigtimedwait(&ours, NULL, &none) < 0 && errno == EINTR) {}
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  errno = number;
  return count;
}

static ditqp_file described(int result, const struct stat *s) {
  ditqp_file file = {0};
  if (result != 0) return file;
  file.kind = S_ISREG(s->st_mode) ? DITQP_REGULAR : S_ISDIR(s->st_mode) ? DITQP_DIRECTORY : DITQP_OTHER;
  file.permissions = s->st_mode & 0777, file.owner = s->st_uid, file.group = s->st_gid;
  file.device = (uint64_t)s->st_dev, file.inode = (uint64_t)s->st_ino;
  file.size = (int64_t)s->st_size;
  return file;
}

ditqp_file ditqp_look(const char *path) {
  struct stat s;
  return described(stat(path, &s), &s);
}

ditqp_file ditqp_look_open(int descriptor) {
  struct stat s;
  return described(fstat(descriptor, &s), &s);
}

size_t ditqp_names(const char *path, char *names, size_t size) {
  DIR *directory = opendir(path);
  if (!directory) return 0;
  size_t filled = 0;
  for (const struct dirent *entry; (entry = readdir(directory));) {
    const size_t length = strlen(entry->d_name) + 1;
    if (length > size - filled || strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
    memcpy(names + filled, entry->d_name, length);
    filled += length;
  }
  closedir(directory);
  return filled;
}

intptr_t ditqp_read_link(const char *path, char *target, size_t size) {
  const ssize_t count = readlink(path, target, size);
  if (count < 0 || (size_t)count >= size) return -1;
  target[count] = '\0';
  return count;
}

int ditqp_check_writable(const char *path, unsigned permissions) {
  if (permissions & 0222) return faccessat(AT_FDCWD, path, W_OK, AT_EACCESS);
  errno = EACCES;
  return -1;
}

int ditqp_dress(int descriptor, const ditqp_file *like) {
  const ditqp_file found = ditqp_look_open(descriptor);
  unsigned permissions = like->permissions;
  const int is_ours = found.owner == like->owner && found.group == like->group;
  /* Another group would gain what the file's own was given. */
  if (!is_ours && fchown(descriptor, like->owner, like->group) != 0 && fchown(descriptor, (uid_t)-1, like->group) != 0)
    permissions &= ~070u | (permissions & 07) << 3;
  return fchmod(descriptor, permissions);
}
