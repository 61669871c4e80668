#include "uf_hold.h"

#define NAMES_A_WORD 6u
#define NAME_BITS 10u
#define NAME_MASK ((1ull << NAME_BITS) - 1)

static _Atomic uint64_t *names_of(struct uf_value *value, uint32_t name)
{
    return name < NAMES_A_WORD ? &value->holders : &value->more_holders;
}

static uint32_t shift_of(uint32_t name)
{
    return name % NAMES_A_WORD * NAME_BITS;
}

int uf_hold_name(const struct uf_pool *pool, uint32_t handle)
{
    struct uf_value *value = uf_pool_block(pool, handle);
    if (value == NULL) {
        return UF_INVALID;
    }
    for (uint32_t name = 0; name < UF_VIEWS; name++) {
        _Atomic uint64_t *names = names_of(value, name);
        uint64_t word = atomic_load_explicit(names, memory_order_relaxed); /* the CAS judges */
        /* A failure means that one of the other five names of the word changed, or this one is taken. */
        for (uint32_t tries = 0; tries < UF_HOLD_TRIES && (word >> shift_of(name) & NAME_MASK) == 0;
             tries++) {
            /* K1 <- K4. Acquire: whose name it was is done with the bit. Failure relaxed: the loop judges
             * the fresh word. */
            if (atomic_compare_exchange_strong_explicit(
                    names, &word, word | (uint64_t)pool->me << shift_of(name), memory_order_acquire,
                    memory_order_relaxed)) {
                UF_STEP(K1);
                return (int)name;
            }
        }
    }
    return UF_FULL;
}

void uf_hold_leave(const struct uf_pool *pool, uint32_t handle, uint32_t name)
{
    struct uf_value *value = uf_pool_block(pool, handle);
    if (value != NULL && name < UF_VIEWS) {
        /* K4 -> K1. Release: the next process of this name begins after us. */
        atomic_fetch_and_explicit(names_of(value, name), ~(NAME_MASK << shift_of(name)),
                                  memory_order_release);
        UF_STEP(K4);
    }
}

/* Whether the table has the entry of this version there. */
static bool is_of_table(uint64_t word, uint64_t version)
{
    uint32_t state = uf_word_state(word);
    return uf_word_version(word) == version &&
           (state == UF_BLOCK_TABLE || (state == UF_BLOCK_HELD && (word & UF_HELD_BY_TABLE) != 0));
}

int uf_hold_take(const struct uf_pool *pool, uint32_t handle, uint64_t version, uint32_t name)
{
    struct uf_value *value = uf_pool_block(pool, handle);
    uint64_t bit = 1ull << name;
    if (value == NULL || name >= UF_VIEWS) {
        return UF_INVALID;
    }
    uint64_t word = atomic_load_explicit(&value->owner, memory_order_relaxed); /* the CAS judges */
    for (uint32_t tries = 0; tries < UF_HOLD_TRIES && is_of_table(word, version); tries++) {
        uint64_t held =
            uf_word_state(word) == UF_BLOCK_HELD ? word : uf_word(version, UF_BLOCK_HELD, 0, 0);
        /* K2. Acquire: the entry is complete; found by another way than the slot, it would have to be
         * learnt here. Failure relaxed: the loop judges the fresh word. */
        if (atomic_compare_exchange_strong_explicit(&value->owner, &word,
                                                    held | UF_HELD_BY_TABLE | bit,
                                                    memory_order_acquire, memory_order_relaxed)) {
            UF_STEP(K2);
            return UF_OK;
        }
    }
    return is_of_table(word, version) ? UF_BUSY : UF_MISSING;
}

/* The word without one bit: FREE, the table's alone, or held by the others. */
static uint64_t without(uint64_t word, uint64_t bit)
{
    uint64_t left = word & ~bit;
    if ((left & UF_VIEWS_MASK) != 0) {
        return left;
    }
    /* Nobody's name: its publisher's is needed only until the entry can be seen. */
    return (left & UF_HELD_BY_TABLE) != 0 ? uf_word_as(word, UF_BLOCK_TABLE, UF_NOBODY, 0)
                                          : uf_word(uf_word_version(word) + 1, UF_BLOCK_FREE, 0, 0);
}

/* Clear the bit, and free the block with the last one. True: it is clear, whoever did it. */
static bool drop_bit(const struct uf_pool *pool, uint32_t handle, struct uf_value *value,
                     uint64_t bit)
{
    uint64_t word = atomic_load_explicit(&value->owner, memory_order_relaxed); /* the CAS judges */
    for (uint32_t tries = 0; tries < UF_HOLD_TRIES; tries++) {
        if (uf_word_state(word) != UF_BLOCK_HELD || (word & bit) == 0) {
            return true; /* recovery, that comes again */
        }
        uint64_t now = without(word, bit);
        /* K3 -> W2. Release: our reads of the value are over before anybody else can own it. Failure
         * relaxed: the loop judges the fresh word. */
        if (atomic_compare_exchange_strong_explicit(&value->owner, &word, now, memory_order_release,
                                                    memory_order_relaxed)) {
            UF_STEP(K3);
            if (uf_word_state(now) == UF_BLOCK_FREE) {
                uf_bits_set(pool->class[uf_handle_class(handle)].bits, uf_handle_index(handle));
            }
            return true;
        }
    }
    return false;
}

void uf_hold_drop(const struct uf_pool *pool, uint32_t handle, uint32_t name)
{
    struct uf_value *value = uf_pool_block(pool, handle);
    /* With its bit there, the name stays: recovery finds it by that. */
    if (value != NULL && name < UF_VIEWS && drop_bit(pool, handle, value, 1ull << name)) {
        uf_hold_leave(pool, handle, name);
    }
}

bool uf_hold_release(const struct uf_pool *pool, uint32_t handle, uint64_t version)
{
    struct uf_value *value = uf_pool_block(pool, handle);
    if (value == NULL) {
        return false;
    }
    uint64_t ours = uf_word(version + 1, UF_BLOCK_OWNED, pool->me, 0);
    uint64_t word = atomic_load_explicit(&value->owner, memory_order_relaxed); /* the CAS judges */
    for (uint32_t tries = 0; tries < UF_HOLD_TRIES && is_of_table(word, version); tries++) {
        bool held = uf_word_state(word) == UF_BLOCK_HELD;
        /* K5; W2. Acquire: its writer's and its past holders' work is behind us. Release, for those that
         * hold it: the last of them frees it after us. A CAS: the recovery of its dead writer may find it in no slot
         * and free it first, and it may then be somebody else's entry already. The version rises here,
         * not only when the block is FREE: from our cache it may be TABLE again at once, and a reader
         * must see that. Failure relaxed: the loop judges the fresh word. */
        if (atomic_compare_exchange_strong_explicit(&value->owner, &word,
                                                    held ? word & ~UF_HELD_BY_TABLE : ours,
                                                    memory_order_acq_rel, memory_order_relaxed)) {
            UF_STEP(K5);
            return !held;
        }
    }
    return false;
}

void uf_hold_recover(const struct uf_pool *pool, uint32_t handle, uint32_t dead)
{
    struct uf_value *value = uf_pool_block(pool, handle);
    if (value == NULL) {
        return;
    }
    for (uint32_t name = 0; name < UF_VIEWS; name++) {
        /* Relaxed: written by the dead process before it died, read under its lock. */
        uint64_t word = atomic_load_explicit(names_of(value, name), memory_order_relaxed);
        if ((word >> shift_of(name) & NAME_MASK) == dead) {
            uf_hold_drop(pool, handle, name);
        }
    }
}
