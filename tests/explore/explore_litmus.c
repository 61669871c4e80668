/* explore_litmus.c -- the explorer itself: shapes whose outcomes C11 fixes, where each allowed one must
 * be found and each other one must not; and faults that it must see where they are.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "explore.h"
#include "uf_bell.h"

#define RELAXED memory_order_relaxed
#define ACQUIRE memory_order_acquire
#define RELEASE memory_order_release
#define SEQ_CST memory_order_seq_cst

static _Atomic uint64_t *x;
static _Atomic uint64_t *y;
static uint64_t *plain;
static memory_order in; /* the order of the stores that matter */
static memory_order out;
static uint32_t r[4];
static uint64_t found; /* a bit an outcome */
static uint64_t allowed;

static void setup(void)
{
    x = explore_alloc(8);
    y = explore_alloc(8);
    plain = explore_alloc(8);
    memset(r, 0, sizeof r);
    explore_keep(r, sizeof r);
    found = 0;
}

static void same_outcomes(void)
{
    CHECK_EQ(found, allowed);
}

static void store(_Atomic uint64_t *at, uint64_t value, memory_order order)
{
    atomic_store_explicit(at, value, order);
}

static uint32_t load(_Atomic uint64_t *at, memory_order order)
{
    return (uint32_t)atomic_load_explicit(at, order);
}

/* Store buffering. */
static void sb_0(void)
{
    store(x, 1, in);
    r[0] = load(y, out);
}
static void sb_1(void)
{
    store(y, 1, in);
    r[1] = load(x, out);
}
static void two_bits(void)
{
    found |= 1ull << (r[0] * 2 + r[1]);
}

/* Message passing. */
static void mp_0(void)
{
    store(x, 1, RELAXED);
    store(y, 1, in);
}
static void mp_1(void)
{
    r[0] = load(y, out);
    r[1] = load(x, RELAXED);
}

/* Write to read causality. */
static void wrc_0(void)
{
    store(x, 1, RELAXED);
}
static void wrc_1(void)
{
    r[0] = load(x, out);
    store(y, 1, in);
}
static void wrc_2(void)
{
    r[1] = load(y, out);
    r[2] = load(x, RELAXED);
}
static void three_bits(void)
{
    found |= 1ull << (r[0] * 4 + r[1] * 2 + r[2]);
}

/* Independent reads of independent writes. */
static void iriw_0(void)
{
    store(x, 1, in);
}
static void iriw_1(void)
{
    store(y, 1, in);
}
static void iriw_2(void)
{
    r[0] = load(x, out);
    r[1] = load(y, out);
}
static void iriw_3(void)
{
    r[2] = load(y, out);
    r[3] = load(x, out);
}
static void four_bits(void)
{
    found |= 1ull << (r[0] * 8 + r[1] * 4 + r[2] * 2 + r[3]);
}

/* Coherence of reads. */
static void corr_0(void)
{
    store(x, 1, RELAXED);
    store(x, 2, RELAXED);
}
static void corr_1(void)
{
    r[0] = load(x, RELAXED);
    r[1] = load(x, RELAXED);
}
static void two_thirds(void)
{
    found |= 1ull << (r[0] * 3 + r[1]);
}

/* A release goes on through another thread's read-modify-write. */
static void sequence_0(void)
{
    store(x, 1, RELAXED);
    store(y, 1, RELEASE);
}
static void sequence_1(void)
{
    atomic_fetch_add_explicit(y, 1, RELAXED);
}
static void sequence_2(void)
{
    r[0] = load(y, ACQUIRE) == 2;
    r[1] = load(x, RELAXED);
}

/* Each of two additions is counted. */
static void add_0(void)
{
    r[0] = (uint32_t)atomic_fetch_add_explicit(x, 1, RELAXED);
}
static void add_1(void)
{
    r[1] = (uint32_t)atomic_fetch_add_explicit(x, 1, RELAXED);
}

/* A death after any of three steps, or before the first. */
static void die_0(void)
{
    store(x, 1, RELAXED);
    store(x, 2, RELAXED);
}
static void die_1(void)
{
    explore_inherit();
    r[0] = load(x, RELAXED) + 1;
}
static void one_number(void)
{
    found |= 1ull << r[0];
}

/* --- seeded faults ------------------------------------------------------------------------------ */

static void race_0(void)
{
    *plain = 7;
    store(y, 1, in);
}
static void race_1(void)
{
    if (load(y, out) == 1) {
        CHECK_EQ(*plain, 7);
    }
}

static void sleeper(void)
{
    _Atomic uint32_t *bell = (_Atomic uint32_t *)(void *)y;
    uint32_t armed = uf_bell_arm(bell, UF_BELL_FUTEX);
    if (load(x, RELAXED) == 0) { /* relaxed: the lost wake-up */
        uf_bell_sleep(bell, armed, 1000000);
    }
}
static void waker(void)
{
    store(x, 1, RELAXED);
    _Atomic uint32_t *bell = (_Atomic uint32_t *)(void *)y;
    uint32_t seen = uf_bell_look(bell);
    if (seen != 0) {
        uf_bell_wake(bell, seen, -1);
    }
}

static void spinner(void)
{
    while (load(x, ACQUIRE) == 0) {
    }
}

static void dropper_0(void)
{
    uint32_t seen = load(x, RELAXED); /* not one step: an addition is lost */
    store(x, seen + 1, RELAXED);
}
static void dropper_finish(void)
{
    CHECK_EQ(load(x, RELAXED), 2);
}

#define SHAPE(title, ...)                                                                          \
    {.name = title, .setup = setup, .after = same_outcomes, .minimum = 2, __VA_ARGS__}

static const struct {
    struct explore_check check;
    memory_order in, out;
    uint64_t allowed;
} shape[] = {
    {SHAPE("SB relaxed", .body = {sb_0, sb_1}, .finish = two_bits), RELAXED, RELAXED, 0xf},
    {SHAPE("SB release, acquire", .body = {sb_0, sb_1}, .finish = two_bits), RELEASE, ACQUIRE, 0xf},
    {SHAPE("SB seq_cst", .body = {sb_0, sb_1}, .finish = two_bits), SEQ_CST, SEQ_CST, 0xe},
    {SHAPE("MP relaxed", .body = {mp_0, mp_1}, .finish = two_bits), RELAXED, RELAXED, 0xf},
    {SHAPE("MP release, relaxed", .body = {mp_0, mp_1}, .finish = two_bits), RELEASE, RELAXED, 0xf},
    {SHAPE("MP relaxed, acquire", .body = {mp_0, mp_1}, .finish = two_bits), RELAXED, ACQUIRE, 0xf},
    {SHAPE("MP release, acquire", .body = {mp_0, mp_1}, .finish = two_bits), RELEASE, ACQUIRE, 0xb},
    {SHAPE("WRC relaxed", .body = {wrc_0, wrc_1, wrc_2}, .finish = three_bits), RELAXED, RELAXED,
     0xff},
    {SHAPE("WRC release, acquire", .body = {wrc_0, wrc_1, wrc_2}, .finish = three_bits), RELEASE,
     ACQUIRE, 0xbf},
    {SHAPE("IRIW release, acquire", .body = {iriw_0, iriw_1, iriw_2, iriw_3}, .finish = four_bits),
     RELEASE, ACQUIRE, 0xffff},
    {SHAPE("IRIW seq_cst", .body = {iriw_0, iriw_1, iriw_2, iriw_3}, .finish = four_bits), SEQ_CST,
     SEQ_CST, 0xfbff},
    {SHAPE("CoRR", .body = {corr_0, corr_1}, .finish = two_thirds), RELAXED, RELAXED, 0x137},
    {SHAPE("release sequence", .body = {sequence_0, sequence_1, sequence_2}, .finish = two_bits),
     RELAXED, RELAXED, 0xb},
    {SHAPE("additions", .body = {add_0, add_1}, .finish = two_bits), RELAXED, RELAXED, 0x6},
    {SHAPE("deaths", .body = {die_0, die_1}, .finish = one_number, .mortal = 1, .mourners = 2),
     RELAXED, RELAXED, 0xf},
    {SHAPE("ordered plain words", .body = {race_0, race_1}), RELEASE, ACQUIRE, 0},
};

static const struct {
    struct explore_check check;
    memory_order in, out;
    const char *says;
} fault[] = {
    {SHAPE("a race", .body = {race_0, race_1}), RELEASE, RELAXED, "races"},
    {SHAPE("a race of a relaxed store", .body = {race_0, race_1}), RELAXED, ACQUIRE, "races"},
    {SHAPE("a lost wake-up", .body = {sleeper, waker}), RELAXED, RELAXED, "sleeps for ever"},
    {SHAPE("a wait for the dead", .body = {spinner, add_1}, .mortal = 2), RELAXED, RELAXED,
     "every call ends"},
    {SHAPE("a lost addition", .body = {dropper_0, dropper_0}, .finish = dropper_finish), RELAXED,
     RELAXED, "== 2"},
    {{.name = "nothing explored", .setup = setup, .body = {add_0}, .minimum = 1000},
     RELAXED,
     RELAXED,
     "as many executions"},
};

static int run(const struct explore_check *one)
{
    char *arguments[] = {(char *)(uintptr_t)"litmus", NULL};
    return explore_main(1, arguments, one, 1);
}

/* In a child, for a failure ends the process; its words must be the right ones. */
static void must_fail(size_t i)
{
    int ends[2];
    char text[65536];
    size_t length = 0;
    fflush(stdout);
    CHECK_EQ(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        dup2(ends[1], 2);
        in = fault[i].in;
        out = fault[i].out;
        allowed = 0;
        _exit(run(&fault[i].check));
    }
    close(ends[1]);
    for (ssize_t got; (got = read(ends[0], text + length, sizeof text - 1 - length)) > 0;) {
        length += (size_t)got;
    }
    text[length] = '\0';
    close(ends[0]);
    int status;
    waitpid(child, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 1 || strstr(text, fault[i].says) == NULL) {
        printf("%s: not seen:\n%s\n", fault[i].check.name, text);
        _exit(1);
    }
    printf("%-32s seen\n", fault[i].check.name);
}

int main(void)
{
    for (size_t i = 0; i < sizeof shape / sizeof shape[0]; i++) {
        in = shape[i].in;
        out = shape[i].out;
        allowed = shape[i].allowed;
        if (run(&shape[i].check) != 0) {
            return 1;
        }
    }
    for (size_t i = 0; i < sizeof fault / sizeof fault[0]; i++) {
        must_fail(i);
    }
    return 0;
}
