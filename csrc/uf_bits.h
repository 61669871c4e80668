/* uf_bits.h -- shared bitmaps that say where to look: one bit a thing, set when it is probably free.
 *
 * WHAT       A hint, never the truth: the truth is the thing's own word (a block's owner, an agent's
 *            record), changed by CAS. A bit that is wrongly set costs one failed CAS; a bit that is
 *            wrongly clear hides a thing until `uf_bits_set` is called for it again (recovery does).
 * PICTURE    word 0 [63 ... 1 0]  word 1 [127 ... 64]  ...      index = word * 64 + bit
 * OWNERSHIP  Nobody's: any process sets or clears any bit.
 * THREADS    All calls from any thread.
 * PROGRESS   find: wait-free, one pass over the words. set, clear, show, pick: wait-free, one atomic
 *            operation, the last two for all things of a word.
 * DEATH      A taker dies between its CAS on the truth and B2 (clear): the bit lies until somebody
 *            trips over it. A taker dies between B3 (pick) and its CAS, or a giver between freeing the
 *            truth and B1: hidden until recovery.
 * ORDER      B1 set release -> B2 clear acquire, B3 pick acquire   the truth was FREE when the bit was
 *            set, so a taker that clears a bit after a failed CAS and then reads the truth again misses
 *            no give (see uf_bits_clear), and one that has picked a bit reads a truth as new as the bit.
 * ERRORS     UF_EMPTY from find: no bit is set.
 * PROOF      P1: a bit that lies after a death costs time only: `test_pool`,
 *            `steps_finds_bit_never_mended`. P2, P5: nothing is decided by a bit,
 *            `linear_finds_bit_cleared_for_good`. P8: `test_flips`.
 * SOURCE     Hints as in LMDB's reader table: being wrong may cost time, never correctness.
 */
#ifndef UF_BITS_H
#define UF_BITS_H

#include "uf_status.h"

static inline uint64_t uf_bits_bytes(uint32_t count)
{
    return uf_round_up((uint64_t)count, 64) / 8;
}

/* Set bits 0 .. count - 1 of a zeroed bitmap, before it is published. */
UF_API void uf_bits_fill(_Atomic uint64_t *words, uint32_t count);
/* Index of a set bit, looked for from word `*cursor` on and around; moves the cursor to its word. */
UF_API int uf_bits_find(_Atomic uint64_t *words, uint32_t count, uint32_t *cursor, uint32_t *index);
/* Number of set bits: already old when it returns. */
UF_API uint32_t uf_bits_count(_Atomic uint64_t *words, uint32_t count);

static inline void uf_bits_set(_Atomic uint64_t *words, uint32_t index)
{
    /* B1 -> B2. Release: the thing was made free before its bit says so. */
    atomic_fetch_or_explicit(&words[index / 64], 1ull << (index % 64), memory_order_release);
}

static inline void uf_bits_clear(_Atomic uint64_t *words, uint32_t index)
{
    /* B2 <- B1. Acquire and release: if a give came before this clear, the caller's next look at
     * the truth sees it free and sets the bit again; if it comes after, the bit ends set. */
    atomic_fetch_and_explicit(&words[index / 64], ~(1ull << (index % 64)), memory_order_acq_rel);
}

/* The same for several things of one word at once. */
static inline void uf_bits_show(_Atomic uint64_t *words, uint32_t word, uint64_t bits)
{
    atomic_fetch_or_explicit(&words[word], bits, memory_order_release); /* B1 -> B2, B3 */
}

/* Clear bits of one word before their things are taken, so that takers do not meet at one. Those of them
 * that were set: the caller's alone to try. */
static inline uint64_t uf_bits_pick(_Atomic uint64_t *words, uint32_t word, uint64_t bits)
{
    /* B3 <- B1. Acquire: if a give came before this clear, the caller finds the truth free; if it comes
     * after, the bit ends set. Relaxed, the caller could take an old truth for the newest, and a free
     * thing would stay hidden. */
    return bits & atomic_fetch_and_explicit(&words[word], ~bits, memory_order_acquire);
}

#endif
