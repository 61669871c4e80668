#include "uf_counts.h"

static uint64_t word_of(uint64_t before, uint32_t era, uint64_t value)
{
    return ((before >> 40) + 1) << 40 | (uint64_t)(era & 0xffff) << 24 | value;
}

bool uf_count_add(_Atomic uint64_t *count, int32_t by, uint32_t era)
{
    uint64_t word = atomic_load_explicit(count, memory_order_relaxed); /* CAS judges */
    for (uint32_t tries = 0; tries < UF_COUNT_TRIES; tries++) {
        if (uf_count_era(word) != era) {
            return false; /* C3 */
        }
        int64_t sum = (int64_t)uf_count_value(word) + by;
        int64_t value = sum < 0 ? 0 : sum > UF_COUNT_MOST ? UF_COUNT_MOST : sum;
        /* C4 -> C5. Release: whoever counts the things from here on finds the change. Failure relaxed:
         * the fresh word is judged anew. */
        if (atomic_compare_exchange_weak_explicit(count, &word, word_of(word, era, (uint64_t)value),
                                                  memory_order_release, memory_order_relaxed)) {
            return value == sum;
        }
    }
    return false;
}

int uf_count_take(_Atomic uint64_t *count, uint32_t most, uint32_t wanted, uint32_t *got,
                  uint32_t *era)
{
    uint64_t word = atomic_load_explicit(count, memory_order_relaxed); /* CAS judges */
    if (most == 0 || most > UF_COUNT_MOST) {
        most = UF_COUNT_MOST;
    }
    for (uint32_t tries = 0; tries < UF_COUNT_TRIES; tries++) {
        uint32_t value = uf_count_value(word);
        uint32_t left = value < most ? most - value : 0;
        *got = wanted < left ? wanted : left;
        *era = uf_count_era(word);
        if (*got == 0) {
            return UF_FULL;
        }
        /* C7 <- C6. Acquire: as in begin. No release: nothing goes with the places themselves, and C4
         * of earlier changes goes on through a change of any order. Failure relaxed: judged anew. */
        if (atomic_compare_exchange_weak_explicit(count, &word, word_of(word, *era, value + *got),
                                                  memory_order_acquire, memory_order_relaxed)) {
            return UF_OK;
        }
    }
    return UF_BUSY;
}

int uf_count_settle(_Atomic uint64_t *count, uint32_t most, uint32_t places, uint32_t era,
                    bool *again)
{
    uint64_t word = atomic_load_explicit(count, memory_order_relaxed); /* CAS judges */
    if (most == 0 || most > UF_COUNT_MOST) {
        most = UF_COUNT_MOST;
    }
    for (uint32_t tries = 0; tries < UF_COUNT_TRIES; tries++) {
        bool lost = uf_count_era(word) != era; /* C3: mended, and perhaps before they were made */
        uint32_t value = uf_count_value(word) + (lost ? places : 0);
        if (lost && value > most) {
            return UF_FULL;
        }
        /* C4 -> C5. Release: a count from here on finds the things; and one that has begun fails, for
         * it may have passed them before they were made. Failure relaxed: judged anew. */
        if (atomic_compare_exchange_weak_explicit(count, &word,
                                                  word_of(word, uf_count_era(word), value),
                                                  memory_order_release, memory_order_relaxed)) {
            *again = *again || lost;
            return UF_OK;
        }
    }
    return UF_BUSY;
}

bool uf_count_mend(_Atomic uint64_t *count, uint64_t before, uint32_t found, uint32_t era)
{
    /* C6 -> C7. Release: the walk came before. Failure relaxed: nothing follows from it. */
    return uf_count_era(before) == (era & 0xffff) ||
           atomic_compare_exchange_strong_explicit(count, &before, word_of(before, era, found),
                                                   memory_order_release, memory_order_relaxed);
}
