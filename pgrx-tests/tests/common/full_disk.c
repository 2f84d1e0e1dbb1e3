/* A disk that is full: preloaded into a server, it lets files under a folder of the name FULL_DISK grow no more, once there is a file
   "full" in it. That file's number tells how often files may still grow in each process. No privilege is needed for that. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int no_room(int fd, off_t end)
{
    static long grown;
    const char *folder = getenv("FULL_DISK");
    char link[64], path[PATH_MAX], text[32];
    struct stat now;
    if (folder == NULL)
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 8);
    if (length < 0)
        return 0;
    path[length] = 0;
    char *inside = strstr(path, folder);
    if (inside == NULL || fstat(fd, &now) != 0 || end <= now.st_size)
        return 0;
    strcpy(inside + strlen(folder), "/full");
    int full = open(path, O_RDONLY);
    if (full < 0)
        return 0;
    length = read(full, text, sizeof text - 1);
    close(full);
    text[length < 0 ? 0 : length] = 0;
    if (grown++ < atol(text))
        return 0;
    errno = ENOSPC;
    return 1;
}

static off_t size_of(const struct iovec *part, int count)
{
    off_t size = 0;
    for (int i = 0; i < count; i++)
        size += (off_t)part[i].iov_len;
    return size;
}

#define FUNCTION(result, name, parameters, arguments, end, full)        \
    result name parameters                                              \
    {                                                                   \
        static result (*real) parameters;                               \
        if (real == NULL)                                               \
            real = dlsym(RTLD_NEXT, #name);                             \
        return no_room(fd, end) ? full : real arguments;                \
    }

#define WRITE(name) FUNCTION(ssize_t, name, (int fd, const void *what, size_t size, off_t at), (fd, what, size, at), at + (off_t)size, -1)
#define WRITE_PARTS(name) \
    FUNCTION(ssize_t, name, (int fd, const struct iovec *part, int count, off_t at), (fd, part, count, at), at + size_of(part, count), -1)
#define ALLOCATE(name) FUNCTION(int, name, (int fd, off_t at, off_t size), (fd, at, size), at + size, ENOSPC)

WRITE(pwrite)
WRITE(pwrite64)
WRITE_PARTS(pwritev)
WRITE_PARTS(pwritev64)
ALLOCATE(posix_fallocate)
ALLOCATE(posix_fallocate64)
