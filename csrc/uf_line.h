/* uf_line.h -- cache lines, alignment and the few words said to the compiler. */
#ifndef UF_LINE_H
#define UF_LINE_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define UF_LINE 64u  /* what one core takes from another at a time                        */
#define UF_PAIR 128u /* what the prefetcher takes: two writers' words stand this far apart */
#define UF_PAGE 4096u

#if defined(__GNUC__)
#define UF_LIKELY(x) __builtin_expect(!!(x), 1)
#define UF_UNLIKELY(x) __builtin_expect(!!(x), 0)
#define UF_API __attribute__((visibility("hidden")))
#else
#error "ultrafast needs gcc or clang"
#endif

_Static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "words shared between processes must be lock-free");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2, "words shared between processes must be lock-free");

/* Tell the core that this is a short wait for another one. */
static inline void uf_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* Fetch a line that this core is about to write. A hint: it changes nothing, at any address. */
static inline void uf_prefetch(const void *at)
{
    __builtin_prefetch(at, 1);
}

static inline uint64_t uf_round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}

static inline bool uf_is_pow2(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

/* floor(log2(value)); value is not 0. */
static inline uint32_t uf_log2(uint64_t value)
{
    return 63u - (uint32_t)__builtin_clzll(value);
}

#endif
