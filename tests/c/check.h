/* check.h -- what every C test stands on: a check that stops, a count that may not be nothing, a
 * watchdog, seeded randomness, threads that start together, and hooks for the marks of uf_step.h.
 *
 * A test program prints one line a property, with the number of cases it looked at, and ends with
 * status 0 only if every check held and no count was 0.
 */
#ifndef UF_TESTS_CHECK_H
#define UF_TESTS_CHECK_H

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "uf_step.h"

#ifndef UF_TEST_STEPS
#error "the C tests need the marks of uf_step.h: configure with -DUF_TEST_STEPS=ON"
#endif

/* Sanitizers and an emulator make everything five to fifty times slower: the loops shrink by this. */
#if defined(__SANITIZE_THREAD__)
#define SLOWER 8
#elif defined(__SANITIZE_ADDRESS__) || defined(UF_EMULATED)
#define SLOWER 4
#else
#define SLOWER 1
#endif

#define CHECK(condition)                                                                           \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            check_failed(__FILE__, __LINE__, #condition);                                          \
        }                                                                                          \
    } while (0)

/* Both sides are printed, so that a wrong status shows itself. */
#define CHECK_EQ(got, wanted)                                                                      \
    do {                                                                                           \
        long long check_got = (long long)(got);                                                    \
        long long check_wanted = (long long)(wanted);                                              \
        if (check_got != check_wanted) {                                                           \
            fprintf(stderr, "got %lld, wanted %lld\n", check_got, check_wanted);                   \
            check_failed(__FILE__, __LINE__, #got " == " #wanted);                                 \
        }                                                                                          \
    } while (0)

static inline void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "%s:%d: failed: %s (errno %d, %s)\n", file, line, what, errno, strerror(errno));
    _exit(1);
}

/* Say how many cases a property was held to; none at all is a failure. */
static inline void explored(const char *what, unsigned long long count)
{
    printf("%-72s %llu\n", what, count);
    fflush(stdout);
    if (count == 0) {
        check_failed(__FILE__, __LINE__, "something was explored");
    }
}

static inline void watchdog_bit(int signal_number)
{
    static const char text[] = "watchdog: the test hangs\n";
    (void)signal_number;
    ssize_t put = write(2, text, sizeof text - 1);
    (void)put;
    _exit(3);
}

/* End the program if it runs longer than any machine should need. */
static inline void watchdog(unsigned seconds)
{
    signal(SIGALRM, watchdog_bit);
    alarm(seconds);
}

/* xorshift64*, Vigna 2016: a test that fails is run again from its printed seed. */
static inline uint64_t next_random(uint64_t *state)
{
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545f4914f6cdd1dull;
}

static inline uint64_t test_seed(void)
{
    const char *given = getenv("UF_TEST_SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 0) : (uint64_t)getpid() * 2654435761u;
    printf("seed %llu (UF_TEST_SEED)\n", (unsigned long long)(seed | 1));
    return seed | 1;
}

/* --- marks ----------------------------------------------------------------------------------- */

/* At one mark in eight, let another thread run: two cores overlap little without it. */
static inline void yield_at_marks(const char *id)
{
    static _Thread_local uint64_t state;
    (void)id;
    if (state == 0) {
        state = (uint64_t)(uintptr_t)&state | 1;
    }
    if (next_random(&state) % 8 == 0) {
        sched_yield();
    }
}

/* --- threads --------------------------------------------------------------------------------- */

#define TEAM_MAX 16

struct team {
    pthread_t thread[TEAM_MAX];
    int size;
};

static inline void team_add(struct team *team, void *(*run)(void *), void *argument)
{
    CHECK(team->size < TEAM_MAX);
    CHECK_EQ(pthread_create(&team->thread[team->size++], NULL, run, argument), 0);
}

static inline void team_join(struct team *team)
{
    for (int i = 0; i < team->size; i++) {
        CHECK_EQ(pthread_join(team->thread[i], NULL), 0);
    }
    team->size = 0;
}

/* --- processes ------------------------------------------------------------------------------- */

/* Wait for a child; its exit status, or 128 + the signal that ended it. */
static inline int child_end(pid_t child)
{
    int status;
    pid_t got;
    do {
        got = waitpid(child, &status, 0);
    } while (got < 0 && errno == EINTR);
    CHECK_EQ(got, child);
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

#endif
