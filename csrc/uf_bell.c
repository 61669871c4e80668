#include "uf_bell.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

uint32_t uf_bell_arm(_Atomic uint32_t *bell, uint32_t mode)
{
    uint32_t word = atomic_load_explicit(bell, memory_order_relaxed); /* only the epoch matters */
    uint32_t armed = (((word >> 2) + 1) << 2) | mode;
    /* L2. seq_cst: before the receiver's last look at the rings; see PICTURE. */
    atomic_store_explicit(bell, armed, memory_order_seq_cst);
    UF_STEP(L2);
    return armed;
}

void uf_bell_disarm(_Atomic uint32_t *bell)
{
    uint32_t word = atomic_load_explicit(bell, memory_order_relaxed); /* as in arm */
    /* Relaxed: a sender that still reads "asleep" rings once too often. */
    atomic_store_explicit(bell, word & ~3u, memory_order_relaxed);
}

int uf_bell_sleep(_Atomic uint32_t *bell, uint32_t armed, uint64_t timeout_ns)
{
    uint64_t slice = timeout_ns < UF_BELL_SLICE_NS ? timeout_ns : UF_BELL_SLICE_NS;
    struct timespec wait = {.tv_sec = (time_t)(slice / 1000000000u),
                            .tv_nsec = (long)(slice % 1000000000u)};
    if (syscall(SYS_futex, (uint32_t *)bell, FUTEX_WAIT, armed, &wait, NULL, 0) == 0 ||
        errno == EAGAIN) {
        return UF_OK; /* woken, or rung before we slept */
    }
    return errno == EINTR ? UF_INTERRUPTED : UF_TIMEOUT;
}

int uf_bell_open_pipe(const char *path)
{
    if (mkfifo(path, 0600) != 0 && errno != EEXIST) {
        return errno == EACCES || errno == EROFS ? UF_DENIED : UF_SYSTEM;
    }
    return uf_bell_find_pipe(path);
}

int uf_bell_find_pipe(const char *path)
{
    struct stat st;
    /* Both ends open for reading and writing: no end of file, no SIGPIPE when the other end dies. */
    int fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) {
        if (errno == ENOENT) {
            return UF_MISSING;
        }
        return errno == ELOOP || errno == EACCES ? UF_DENIED : UF_SYSTEM;
    }
    if (fstat(fd, &st) != 0 || !S_ISFIFO(st.st_mode) || st.st_uid != geteuid()) {
        close(fd);
        return UF_DENIED;
    }
    return fd;
}

void uf_bell_drain_pipe(int fd)
{
    char bytes[512];
    /* One read is enough: what a later ring adds is another wake-up. */
    ssize_t got = read(fd, bytes, sizeof bytes);
    (void)got; /* EAGAIN: somebody else drained it */
}

void uf_bell_wake(_Atomic uint32_t *bell, uint32_t seen, int pipe)
{
    uint32_t awake = seen & ~3u;
    UF_STEP(L1);
    switch (uf_bell_mode_of(seen)) {
    case UF_BELL_FUTEX:
        /* Relaxed, both: the futex call orders; failure says that somebody else rings or that this
         * sleep is over. */
        if (atomic_compare_exchange_strong_explicit(bell, &seen, awake, memory_order_relaxed,
                                                    memory_order_relaxed)) {
            UF_STEP(L3);
            syscall(SYS_futex, (uint32_t *)bell, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
        }
        break;
    case UF_BELL_PIPE:
        if (pipe >= 0) {
            ssize_t put = write(pipe, "", 1);
            (void)put; /* EAGAIN: the pipe is full of rings already */
            UF_STEP(L4);
            /* Relaxed, both: it only spares later senders the call, for this epoch alone. */
            atomic_compare_exchange_strong_explicit(bell, &seen, awake, memory_order_relaxed,
                                                    memory_order_relaxed);
        }
        break;
    default:
        break;
    }
}
