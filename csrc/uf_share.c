#include "uf_share.h"

#include <string.h>

/* A block that is ours, OWNED or in state `or`; NULL for anything else. */
static struct uf_message *ours(const struct uf_pool *pool, uint32_t handle, uint32_t or)
{
    struct uf_message *message = uf_pool_block(pool, handle);
    if (message == NULL) {
        return NULL;
    }
    uint64_t word =
        atomic_load_explicit(&message->owner, memory_order_relaxed); /* ours, or refused */
    uint32_t state = uf_word_state(word);
    bool mine = uf_word_owner(word) == pool->me && (state == UF_BLOCK_OWNED || state == or);
    return mine ? message : NULL;
}

static void mark(const struct uf_pool *pool, struct uf_message *message)
{
    uint64_t word = atomic_load_explicit(&message->owner, memory_order_relaxed); /* ours */
    /* H7. Release, for recovery alone: what a marked block says is whole. */
    atomic_store_explicit(&message->owner,
                          uf_word_as(word, UF_BLOCK_OWNED, pool->me, UF_PLACE_REFERENCE),
                          memory_order_release);
}

int uf_share(struct uf_pool *pool, uint32_t handle, const uint32_t *references, uint32_t count)
{
    struct uf_message *shared = ours(pool, handle, UF_BLOCK_OWNED);
    if (shared == NULL || count == 0 || count > UF_HOLDERS) {
        return UF_INVALID;
    }
    for (uint32_t b = 0; b < count; b++) {
        if (references[b] == handle || ours(pool, references[b], UF_BLOCK_OWNED) == NULL ||
            uf_pool_room(pool, references[b]) < sizeof(struct uf_reference)) {
            return UF_INVALID;
        }
    }
    uint64_t word = atomic_load_explicit(&shared->owner, memory_order_relaxed); /* ours */
    for (uint32_t b = 0; b < count; b++) {
        struct uf_message *message = uf_pool_block(pool, references[b]);
        const struct uf_reference reference = {uf_word_version(word), handle, b};
        memcpy((uint8_t *)message + UF_BLOCK_HEAD, &reference, sizeof reference);
        message->flags |= UF_MESSAGE_REFERENCE;
        mark(pool, message);
        UF_STEP(H1);
    }
    uint64_t holders = UF_HOLDERS_MASK >> (UF_HOLDERS - count);
    /* W1. Release, for recovery alone: every reference is marked, so that each bit has one that names it.
     * Receivers learn of the payload by their references' pushes. */
    atomic_store_explicit(&shared->owner, uf_word_as(word, UF_BLOCK_SHARED, 0, 0) | holders,
                          memory_order_release);
    UF_STEP(H2);
    return UF_OK;
}

/* What a reference says, and the word that it speaks of; false when that is no block or no holder. */
static bool read_reference(const struct uf_pool *pool, const struct uf_message *message,
                           struct uf_reference *reference, struct uf_message **shared)
{
    memcpy(reference, (const uint8_t *)message + UF_BLOCK_HEAD, sizeof *reference);
    *shared = uf_pool_block(pool, reference->handle);
    return *shared != NULL && reference->bit < UF_HOLDERS;
}

static bool holds(uint64_t word, const struct uf_reference *reference)
{
    return uf_word_state(word) == UF_BLOCK_SHARED && uf_word_version(word) == reference->version &&
           (word >> reference->bit & 1) != 0;
}

int uf_share_look(const struct uf_pool *pool, uint32_t handle, struct uf_shared *shared)
{
    struct uf_message *message = uf_pool_block(pool, handle);
    struct uf_message *block;
    struct uf_reference reference;
    if (message == NULL || uf_pool_room(pool, handle) < sizeof reference) {
        return UF_INVALID;
    }
    uint32_t bytes = message->payload_bytes; /* once: what is checked is what is used */
    if (bytes < sizeof reference || bytes > uf_pool_room(pool, handle) ||
        !read_reference(pool, message, &reference, &block)) {
        return UF_CORRUPT;
    }
    /* Relaxed: our reference's push carried it here, and while our bit is there nobody frees it. */
    if (!holds(atomic_load_explicit(&block->owner, memory_order_relaxed), &reference)) {
        return UF_CORRUPT;
    }
    shared->payload_bytes = block->payload_bytes;
    if (shared->payload_bytes > uf_pool_room(pool, reference.handle)) {
        return UF_CORRUPT;
    }
    shared->payload = (const uint8_t *)block + UF_BLOCK_HEAD;
    shared->note = (const uint8_t *)message + UF_BLOCK_HEAD + sizeof reference;
    shared->note_bytes = bytes - (uint32_t)sizeof reference;
    return UF_OK;
}

void uf_share_drop(const struct uf_pool *pool, uint32_t handle)
{
    const struct uf_message *message = uf_pool_block(pool, handle);
    struct uf_message *block;
    struct uf_reference reference;
    if (message == NULL || uf_pool_room(pool, handle) < sizeof reference ||
        !read_reference(pool, message, &reference, &block)) {
        return;
    }
    uint64_t word = atomic_load_explicit(&block->owner, memory_order_relaxed); /* the CAS judges */
    for (uint32_t tries = 0; tries <= UF_HOLDERS && holds(word, &reference); tries++) {
        uint64_t left = word & ~(1ull << reference.bit);
        bool last = (left & UF_HOLDERS_MASK) == 0;
        uint64_t now = last ? uf_word(uf_word_version(word) + 1, UF_BLOCK_FREE, 0, 0) : left;
        /* H6 -> W2. Release: our reads of the payload are over before anybody else can own it; the
         * CASes that follow carry it on. Failure relaxed: the loop judges the fresh word. */
        if (atomic_compare_exchange_strong_explicit(&block->owner, &word, now, memory_order_release,
                                                    memory_order_relaxed)) {
            UF_STEP(H5);
            if (last) {
                uf_bits_set(pool->class[uf_handle_class(reference.handle)].bits,
                            uf_handle_index(reference.handle));
            }
            return;
        }
    }
}

int uf_share_handled(struct uf_pool *pool, uint32_t handle)
{
    struct uf_message *message = ours(pool, handle, UF_BLOCK_TAKEN);
    if (message == NULL) {
        return UF_INVALID;
    }
    mark(pool, message);
    UF_STEP(H3);
    return UF_OK;
}

int uf_share_give(struct uf_pool *pool, uint32_t handle)
{
    struct uf_message *message = ours(pool, handle, UF_BLOCK_TAKEN);
    if (message == NULL) {
        return UF_INVALID;
    }
    mark(pool, message);
    UF_STEP(H3);
    uf_share_drop(pool, handle);
    UF_STEP(H4);
    message->flags = 0; /* whoever has the block next may send it as it is */
    return uf_pool_give(pool, handle);
}
