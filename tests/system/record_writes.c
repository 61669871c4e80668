/* Preloaded into a process: writes down, in order, what it writes to one file and when it syncs it.
 *
 * UF_RECORD_OF names the file, UF_RECORD the log. A record is { kind 8, offset 8, bytes 8 } and, of a
 * write, its bytes. Kinds: 'W' a write has happened, 'S' all writes so far are durable, 'D' the last
 * write is, 'T' the file was cut or extended to `offset`.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int logged_to = -1;

static int is_recorded(int fd)
{
    char link[64] = "/proc/self/fd/";
    char path[4096];
    const char *wanted = getenv("UF_RECORD_OF");
    char digits[16];
    int n = 0;
    for (int rest = fd; n == 0 || rest > 0; rest /= 10) {
        digits[n++] = (char)('0' + rest % 10);
    }
    size_t end = strlen(link);
    while (n > 0) {
        link[end++] = digits[--n];
    }
    link[end] = 0;
    ssize_t count = readlink(link, path, sizeof path - 1);
    if (wanted == NULL || count < 0) {
        return 0;
    }
    path[count] = 0;
    if (strcmp(path, wanted) != 0) {
        return 0;
    }
    if (logged_to < 0) {
        logged_to = open(getenv("UF_RECORD"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    }
    return logged_to >= 0;
}

static void record(uint64_t kind, uint64_t offset, const struct iovec *parts, int count)
{
    uint64_t head[3] = {kind, offset, 0};
    struct iovec all[1 + 1024] = {{head, sizeof head}};
    int saved = errno;
    for (int i = 0; i < count; i++) {
        all[1 + i] = parts[i];
        head[2] += parts[i].iov_len;
    }
    if (writev(logged_to, all, 1 + count) != (ssize_t)(sizeof head + head[2])) {
        abort(); /* a log with a gap proves nothing */
    }
    errno = saved;
}

static void written(int fd, uint64_t offset, const struct iovec *parts, int count, ssize_t done)
{
    struct iovec whole[1024];
    int used = 0;
    for (size_t left = done > 0 ? (size_t)done : 0; left > 0 && used < count; used++) {
        whole[used] = parts[used];
        whole[used].iov_len = parts[used].iov_len < left ? parts[used].iov_len : left;
        left -= whole[used].iov_len;
    }
    if (used > 0) {
        record('W', offset, whole, used);
        if ((fcntl(fd, F_GETFL) & (O_DSYNC | O_SYNC)) != 0) {
            record('D', 0, NULL, 0);
        }
    }
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
    ssize_t done = REAL(pwrite)(fd, data, bytes, offset);
    if (is_recorded(fd)) {
        struct iovec part = {(void *)data, bytes};
        written(fd, (uint64_t)offset, &part, 1, done);
    }
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t bytes, off_t offset)
{
    return pwrite(fd, data, bytes, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    ssize_t done = REAL(pwritev)(fd, parts, count, offset);
    if (is_recorded(fd)) {
        written(fd, (uint64_t)offset, parts, count, done);
    }
    return done;
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off_t offset)
{
    return pwritev(fd, parts, count, offset);
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    int ours = fd > 2 && fd != logged_to && is_recorded(fd);
    off_t offset = ours ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = REAL(write)(fd, data, bytes);
    if (ours) {
        struct iovec part = {(void *)data, bytes};
        written(fd, (uint64_t)offset, &part, 1, done);
    }
    return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    int ours = fd > 2 && fd != logged_to && is_recorded(fd);
    off_t offset = ours ? lseek(fd, 0, SEEK_CUR) : 0;
    ssize_t done = REAL(writev)(fd, parts, count);
    if (ours) {
        written(fd, (uint64_t)offset, parts, count, done);
    }
    return done;
}

int fdatasync(int fd)
{
    int done = REAL(fdatasync)(fd);
    if (done == 0 && is_recorded(fd)) {
        record('S', 0, NULL, 0);
    }
    return done;
}

int fsync(int fd)
{
    int done = REAL(fsync)(fd);
    if (done == 0 && is_recorded(fd)) {
        record('S', 0, NULL, 0);
    }
    return done;
}

int ftruncate(int fd, off_t bytes)
{
    int done = REAL(ftruncate)(fd, bytes);
    if (done == 0 && is_recorded(fd)) {
        record('T', (uint64_t)bytes, NULL, 0);
    }
    return done;
}

int ftruncate64(int fd, off_t bytes)
{
    return ftruncate(fd, bytes);
}
