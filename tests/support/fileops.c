/* Ends the process, or fails, at the n-th operation on a file below a folder: loaded before the C library (LD_PRELOAD), so
 * that every operation of the real binary counts, SQLite's among them, and the program needs no seam for it.
 *
 *   FILEOPS_BELOW   the folder
 *   FILEOPS_AT      n, from 1
 *   FILEOPS_ERRNO   the error from the n-th on, for operations that need room; without it the process is killed (SIGKILL)
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static atomic_long done;

static int below(const char *path) {
    const char *folder = getenv("FILEOPS_BELOW");
    char full[4096];
    if (!folder || !path) return 0;
    if (path[0] != '/') {
        char here[2048];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(full, sizeof full, "%s/%s", here, path);
        path = full;
    }
    return strstr(path, folder) != NULL;
}

static int below_fd(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* Whether the operation has to fail now. */
static int due(int counted, int needs_room) {
    const char *at = getenv("FILEOPS_AT"), *error = getenv("FILEOPS_ERRNO");
    if (!counted || !at) return 0;
    long number = atomic_fetch_add(&done, 1) + 1;
    if (!error) {
        if (number == atol(at)) kill(getpid(), SIGKILL);
        return 0;
    }
    if (!needs_room || number < atol(at)) return 0;
    errno = atoi(error);
    return 1;
}

#define NEXT(name) ((__typeof__(name) *)dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) { return due(below_fd(fd), 1) ? -1 : NEXT(write)(fd, bytes, count); }
ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return due(below_fd(fd), 1) ? -1 : NEXT(pwrite)(fd, bytes, count, at); }
ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) { return due(below_fd(fd), 1) ? -1 : NEXT(pwrite64)(fd, bytes, count, at); }
int fsync(int fd) { return due(below_fd(fd), 0) ? -1 : NEXT(fsync)(fd); }
int fdatasync(int fd) { return due(below_fd(fd), 0) ? -1 : NEXT(fdatasync)(fd); }
int ftruncate(int fd, off_t length) { return due(below_fd(fd), 0) ? -1 : NEXT(ftruncate)(fd, length); }
int ftruncate64(int fd, off64_t length) { return due(below_fd(fd), 0) ? -1 : NEXT(ftruncate64)(fd, length); }
int rename(const char *from, const char *to) { return due(below(to), 0) ? -1 : NEXT(rename)(from, to); }
int mkdir(const char *path, mode_t mode) { return due(below(path), 1) ? -1 : NEXT(mkdir)(path, mode); }
int unlink(const char *path) { return due(below(path), 0) ? -1 : NEXT(unlink)(path); }
int rmdir(const char *path) { return due(below(path), 0) ? -1 : NEXT(rmdir)(path); }
int unlinkat(int folder, const char *path, int flags) { return due(below_fd(folder), 0) ? -1 : NEXT(unlinkat)(folder, path, flags); }

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        va_list more;                                                  \
        va_start(more, flags);                                         \
        mode_t mode = flags & O_CREAT ? va_arg(more, mode_t) : 0;      \
        va_end(more);                                                  \
        if (due((flags & O_CREAT) && below(path), 1)) return -1;       \
        return NEXT(name)(path, flags, mode);                          \
    }
OPEN(open)
OPEN(open64)
