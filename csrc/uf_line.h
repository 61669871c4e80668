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

#if defined(__SSE2__) && !defined(__SANITIZE_THREAD__)
#include <emmintrin.h>
#define UF_LINE_MATCHES 1
/* Which of a line's eight words have these upper 16 bits: bit i for word i. All eight are read at once,
 * each whole (a half of a vector never tears on x86, and its loads are acquire); the assembly is there
 * because C11 has no such load. */
static inline uint32_t uf_line_matches(const void *line, uint32_t upper)
{
    __m128i a, b, c, d;
    __asm__ volatile("movdqa (%4), %0\n\t"
                     "movdqa 16(%4), %1\n\t"
                     "movdqa 32(%4), %2\n\t"
                     "movdqa 48(%4), %3"
                     : "=&x"(a), "=&x"(b), "=&x"(c), "=&x"(d)
                     : "r"(line)
                     : "memory");
    /* The upper halves of the words, of which the upper 16 bits are compared. */
    __m128i wanted = _mm_set1_epi32((int)upper);
    __m128i low = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(a), _mm_castsi128_ps(b), 0xdd));
    __m128i high = _mm_castps_si128(_mm_shuffle_ps(_mm_castsi128_ps(c), _mm_castsi128_ps(d), 0xdd));
    low = _mm_cmpeq_epi32(_mm_srli_epi32(low, 16), wanted);
    high = _mm_cmpeq_epi32(_mm_srli_epi32(high, 16), wanted);
    __m128i words = _mm_packs_epi32(low, high);
    return (uint32_t)_mm_movemask_epi8(_mm_packs_epi16(words, words)) & 0xff;
}
#elif defined(__aarch64__) && !defined(__SANITIZE_THREAD__)
#include <arm_neon.h>
#define UF_LINE_MATCHES 1
/* As above. A word never tears; what comes before in the program is ordered by its own acquire. */
static inline uint32_t uf_line_matches(const void *line, uint32_t upper)
{
    static const uint8_t bit[8] = {1, 2, 4, 8, 16, 32, 64, 128};
    uint64x2_t a, b, c, d;
    __asm__ volatile("ldp %q0, %q1, [%4]\n\t"
                     "ldp %q2, %q3, [%4, #32]"
                     : "=&w"(a), "=&w"(b), "=&w"(c), "=&w"(d)
                     : "r"(line)
                     : "memory");
    uint64x2_t wanted = vdupq_n_u64(upper);
    uint32x4_t low = vcombine_u32(vmovn_u64(vceqq_u64(vshrq_n_u64(a, 48), wanted)),
                                  vmovn_u64(vceqq_u64(vshrq_n_u64(b, 48), wanted)));
    uint32x4_t high = vcombine_u32(vmovn_u64(vceqq_u64(vshrq_n_u64(c, 48), wanted)),
                                   vmovn_u64(vceqq_u64(vshrq_n_u64(d, 48), wanted)));
    uint8x8_t words = vmovn_u16(vcombine_u16(vmovn_u32(low), vmovn_u32(high)));
    return vaddv_u8(vand_u8(words, vld1_u8(bit)));
}
#endif

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
