/* hooks.c -- pauses in the middle of the core's operations, seeded.
 *
 * A pause may come at each mark of uf_step.h, and before each atomic access: the core is compiled once
 * more with gcc's -fsanitize=thread, but linked without its runtime, and the calls that this compiles
 * in end here. So no window between two accesses is too narrow to be met, and csrc is unchanged.
 * The accesses themselves are done for real, in an order at least as strong as was asked for.
 *
 * A pause is a yield, a short spin (two cores then run side by side at varying distances), or it
 * lasts until the others have come on by some invocations and answers, or a few yields at most.
 */
#include "linear.h"

#include "check.h"

#define HOOK __attribute__((visibility("default")))

static bool on;
static uint64_t state;
static uint32_t one_in_marks;
static uint32_t one_in_accesses;
static _Atomic uint64_t *ticks;

static void pause_now(uint64_t random)
{
    if (random % 4 == 0) {
        sched_yield();
    } else if (random % 4 == 1) {
        for (uint32_t i = random >> 8 & 255; i > 0; i--) {
            uf_pause();
        }
    } else {
        uint64_t until = atomic_load(ticks) + 1 + (random >> 8 & 7);
        for (uint32_t i = random >> 16 & 15; i > 0 && atomic_load(ticks) < until; i--) {
            sched_yield();
        }
    }
}

static inline void come_by(uint32_t one_in)
{
    if (on) {
        uint64_t random = next_random(&state);
        if ((random >> 40) % one_in == 0) {
            pause_now(random);
        }
    }
}

static void at_mark(const char *id)
{
    (void)id;
    come_by(one_in_marks);
}

void pauses_begin(uint64_t seed, uint32_t marks, uint32_t accesses, _Atomic uint64_t *clock)
{
    state = seed | 1;
    one_in_marks = marks;
    one_in_accesses = accesses;
    ticks = clock;
    uf_step_hook = at_mark;
    on = true;
}

void pauses_end(void)
{
    on = false;
}

#define CHANGE(bits, type, name, builtin)                                                          \
    HOOK type __tsan_atomic##bits##_##name(volatile type *at, type operand, int order)             \
    {                                                                                              \
        (void)order;                                                                               \
        come_by(one_in_accesses);                                                                  \
        return builtin(at, operand, __ATOMIC_SEQ_CST);                                             \
    }

#define COMPARE(bits, type, name)                                                                  \
    HOOK _Bool __tsan_atomic##bits##_##name(volatile type *at, type *expected, type desired,       \
                                            int order, int failure)                                \
    {                                                                                              \
        (void)order;                                                                               \
        (void)failure;                                                                             \
        come_by(one_in_accesses);                                                                  \
        return __atomic_compare_exchange_n(at, expected, desired, 0, __ATOMIC_SEQ_CST,             \
                                           __ATOMIC_SEQ_CST);                                      \
    }

#define ATOMIC(bits, type)                                                                         \
    HOOK type __tsan_atomic##bits##_load(const volatile type *at, int order)                       \
    {                                                                                              \
        (void)order;                                                                               \
        come_by(one_in_accesses);                                                                  \
        return __atomic_load_n(at, __ATOMIC_SEQ_CST);                                              \
    }                                                                                              \
    HOOK void __tsan_atomic##bits##_store(volatile type *at, type value, int order)                \
    {                                                                                              \
        come_by(one_in_accesses);                                                                  \
        if (order == __ATOMIC_SEQ_CST) {                                                           \
            __atomic_store_n(at, value, __ATOMIC_SEQ_CST);                                         \
        } else {                                                                                   \
            __atomic_store_n(at, value, __ATOMIC_RELEASE);                                         \
        }                                                                                          \
    }                                                                                              \
    CHANGE(bits, type, exchange, __atomic_exchange_n)                                              \
    CHANGE(bits, type, fetch_add, __atomic_fetch_add)                                              \
    CHANGE(bits, type, fetch_sub, __atomic_fetch_sub)                                              \
    CHANGE(bits, type, fetch_or, __atomic_fetch_or)                                                \
    CHANGE(bits, type, fetch_and, __atomic_fetch_and)                                              \
    CHANGE(bits, type, fetch_xor, __atomic_fetch_xor)                                              \
    COMPARE(bits, type, compare_exchange_strong)                                                   \
    COMPARE(bits, type, compare_exchange_weak)

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)

/* Plain accesses are left alone. */
#define PLAIN(bytes)                                                                               \
    HOOK void __tsan_read##bytes(void *at)                                                         \
    {                                                                                              \
        (void)at;                                                                                  \
    }                                                                                              \
    HOOK void __tsan_write##bytes(void *at)                                                        \
    {                                                                                              \
        (void)at;                                                                                  \
    }                                                                                              \
    HOOK void __tsan_unaligned_read##bytes(void *at)                                               \
    {                                                                                              \
        (void)at;                                                                                  \
    }                                                                                              \
    HOOK void __tsan_unaligned_write##bytes(void *at)                                              \
    {                                                                                              \
        (void)at;                                                                                  \
    }

PLAIN(1)
PLAIN(2)
PLAIN(4)
PLAIN(8)
PLAIN(16)

HOOK void __tsan_read_range(void *at, unsigned long bytes)
{
    (void)at;
    (void)bytes;
}

HOOK void __tsan_write_range(void *at, unsigned long bytes)
{
    (void)at;
    (void)bytes;
}

HOOK void __tsan_init(void)
{
}

HOOK void __tsan_func_entry(void *from)
{
    (void)from;
}

HOOK void __tsan_func_exit(void)
{
}
