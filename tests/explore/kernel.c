/* kernel.c -- the system calls of the core, as far as the explored sources make them: locks of open file
 * descriptions, futexes, pipes. The linker puts these in place of libc's (--wrap).
 *
 * Each is one step. A lock carries what its last holder had seen, for the kernel orders a release (a
 * death is one) before the next acquisition. Futex and pipe carry nothing: no caller may rely on it.
 */
#include "inside.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define FROM __builtin_return_address(0)
#define LOCKS 8
#define PIPES 6
#define FIRST_FD 1000
#define FIRST_PIPE 2000

struct lock {
    long long start; /* of the locked byte */
    uint32_t holder; /* thread + 1; 0: nobody */
    struct view view;
};

static struct lock lock[LOCKS];
static uint32_t locks;
static uint32_t pipe_bytes[PIPES];
static struct view estate;

int explore_fd(uint32_t of)
{
    return FIRST_FD + (int)of;
}

int explore_pipe(uint32_t pipe)
{
    return FIRST_PIPE + (int)pipe;
}

void kernel_restart(void)
{
    locks = 0;
    memset(pipe_bytes, 0, sizeof pipe_bytes);
    memset(&estate, 0, sizeof estate);
}

const struct view *kernel_estate(void)
{
    return &estate;
}

static void unlock(struct lock *l)
{
    view_join(&l->view, &thread[l->holder - 1].view);
    l->holder = 0;
}

void kernel_death(struct thread *dead)
{
    for (uint32_t i = 0; i < locks; i++) {
        if (lock[i].holder == (uint32_t)(dead - thread) + 1) {
            unlock(&lock[i]);
        }
    }
    view_join(&estate, &dead->view);
}

void kernel_hash(uint64_t hash[2])
{
    for (uint32_t i = 0; i < locks; i++) {
        feed(hash, (uint64_t)lock[i].start << 8 | lock[i].holder);
        view_hash(hash, &lock[i].view);
    }
    for (uint32_t i = 0; i < PIPES; i++) {
        feed(hash, pipe_bytes[i]);
    }
    for (uint32_t t = 0; t < threads; t++) {
        feed(hash, thread[t].timed_out);
    }
    view_hash(hash, &estate);
}

static struct lock *lock_at(long long start)
{
    for (uint32_t i = 0; i < locks; i++) {
        if (lock[i].start == start) {
            return &lock[i];
        }
    }
    if (locks == LOCKS) {
        explore_fail(__FILE__, __LINE__, "a check locks no more than LOCKS bytes", LOCKS + 1,
                     LOCKS);
    }
    memset(&lock[locks], 0, sizeof lock[locks]);
    lock[locks].start = start;
    return &lock[locks++];
}

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
ssize_t __wrap_write(int fd, const void *data, size_t bytes);
ssize_t __real_write(int fd, const void *data, size_t bytes);
ssize_t __wrap_read(int fd, void *data, size_t bytes);
ssize_t __real_read(int fd, void *data, size_t bytes);

int __wrap_fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    struct flock *wanted = va_arg(arguments, struct flock *);
    va_end(arguments);
    uint32_t me = (uint32_t)(fd - FIRST_FD) + 1;
    if (me == 0 || me > EXPLORE_THREADS) {
        return __real_fcntl(fd, command, wanted);
    }
    if (running != NULL) {
        step();
    }
    struct lock *l = lock_at(wanted->l_start);
    uint32_t was = l->holder;
    if (command == F_OFD_GETLK) {
        wanted->l_type = was == 0 || was == me ? F_UNLCK : F_WRLCK;
    } else if (wanted->l_type == F_UNLCK) {
        if (was == me) {
            unlock(l);
        }
    } else if (was == 0) {
        l->holder = me;
        if (running != NULL) {
            view_join(&running->view, &l->view);
        }
    }
    if (running != NULL) {
        learn(was);
        trace(FROM, NULL, "kernel", (uint64_t)l->start, "lock; holder was", was);
    }
    if (command == F_OFD_SETLK && wanted->l_type == F_WRLCK && was != 0 && was != me) {
        errno = EAGAIN;
        return -1;
    }
    return 0;
}

/* Sleep until somebody wakes us, or a slice ends. True: woken. */
static bool sleep_on(const void *what)
{
    running->sleeps_on = what;
    running->timed_out = false;
    running->status = ASLEEP;
    step();
    learn(running->timed_out);
    return !running->timed_out;
}

static void wake(const void *what)
{
    for (uint32_t t = 0; t < threads; t++) {
        if (thread[t].status == ASLEEP && thread[t].sleeps_on == what) {
            thread[t].status = READY;
        }
    }
}

static long futex(const void *from, uint32_t *word, int operation, uint32_t wanted)
{
    step();
    if (operation == FUTEX_WAKE) {
        trace(from, word, "kernel", 0, "futex wake", 0);
        wake(word);
        return 0;
    }
    bool equal = *word == wanted; /* the kernel reads the newest store */
    learn(equal);
    trace(from, word, "kernel", *word, "futex wait; as wanted:", equal);
    if (!equal) {
        errno = EAGAIN;
        return -1;
    }
    if (!sleep_on(word)) {
        errno = ETIMEDOUT;
        return -1;
    }
    return 0;
}

long __wrap_syscall(long number, ...)
{
    va_list arguments;
    va_start(arguments, number);
    long a[6];
    for (uint32_t i = 0; i < 6; i++) {
        a[i] = va_arg(arguments, long);
    }
    va_end(arguments);
    if (number == SYS_futex && running != NULL) {
        return futex(FROM, (uint32_t *)a[0], (int)a[1], (uint32_t)a[2]);
    }
    return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static uint32_t *bytes_of(int fd)
{
    return fd >= FIRST_PIPE && fd < FIRST_PIPE + PIPES ? &pipe_bytes[fd - FIRST_PIPE] : NULL;
}

ssize_t __wrap_write(int fd, const void *data, size_t bytes)
{
    uint32_t *held = bytes_of(fd);
    if (held == NULL || running == NULL) {
        return __real_write(fd, data, bytes);
    }
    step();
    *held += (uint32_t)bytes;
    trace(FROM, NULL, "kernel", *held, "pipe write", bytes);
    wake(held);
    return (ssize_t)bytes;
}

ssize_t __wrap_read(int fd, void *data, size_t bytes)
{
    uint32_t *held = bytes_of(fd);
    if (held == NULL || running == NULL) {
        return __real_read(fd, data, bytes);
    }
    step();
    size_t got = *held < bytes ? *held : bytes;
    memset(data, 0, got);
    *held -= (uint32_t)got;
    learn(got);
    trace(FROM, NULL, "kernel", got, "pipe read", bytes);
    if (got == 0) {
        errno = EAGAIN;
        return -1;
    }
    return (ssize_t)got;
}

void explore_poll(uint32_t pipe)
{
    step();
    learn(pipe_bytes[pipe] != 0);
    trace(FROM, NULL, "kernel", pipe_bytes[pipe], "poll of pipe", pipe);
    if (pipe_bytes[pipe] == 0) {
        sleep_on(&pipe_bytes[pipe]);
    }
}
