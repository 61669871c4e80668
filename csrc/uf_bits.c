#include "uf_bits.h"

void uf_bits_fill(_Atomic uint64_t *words, uint32_t count)
{
    for (uint32_t word = 0; word * 64 < count; word++) {
        uint32_t left = count - word * 64;
        uint64_t bits = left >= 64 ? ~0ull : (1ull << left) - 1;
        atomic_store_explicit(&words[word], bits, memory_order_relaxed); /* not yet published */
    }
}

int uf_bits_find(_Atomic uint64_t *words, uint32_t count, uint32_t *cursor, uint32_t *index)
{
    uint32_t total = (uint32_t)(uf_bits_bytes(count) / 8);
    uint32_t word = *cursor < total ? *cursor : 0;
    for (uint32_t seen = 0; seen < total; seen++) {
        /* Relaxed: a hint; the CAS on the thing itself decides. */
        uint64_t bits = atomic_load_explicit(&words[word], memory_order_relaxed);
        if (bits != 0) {
            uint32_t found = word * 64 + (uint32_t)__builtin_ctzll(bits);
            if (found < count) { /* a hostile bit past the end is passed over */
                *cursor = word;
                *index = found;
                return UF_OK;
            }
        }
        word = word + 1 == total ? 0 : word + 1;
    }
    return UF_EMPTY;
}

uint32_t uf_bits_count(_Atomic uint64_t *words, uint32_t count)
{
    uint32_t set = 0;
    for (uint32_t word = 0; word * 64 < count; word++) {
        uint64_t bits = atomic_load_explicit(&words[word], memory_order_relaxed); /* a count */
        set += (uint32_t)__builtin_popcountll(bits);
    }
    return set;
}
