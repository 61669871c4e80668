#include "uf_table_in.h"

#include <string.h>

struct uf_table_head {
    uint32_t buckets;
    uint32_t extensions;
};

static uint64_t owners_offset(void)
{
    return UF_PAIR;
}

static uint64_t buckets_offset(uint32_t extensions)
{
    return owners_offset() + uf_round_up((uint64_t)extensions * 8, UF_PAIR);
}

uint64_t uf_table_bytes(uint32_t buckets, uint32_t extensions)
{
    return buckets_offset(extensions) + ((uint64_t)buckets + extensions) * UF_LINE;
}

static bool is_sound(uint32_t buckets, uint32_t extensions)
{
    return buckets > 0 && buckets < 1u << 30 && extensions < 1u << 20;
}

int uf_table_init(void *area, uint64_t bytes, uint32_t buckets, uint32_t extensions)
{
    struct uf_table_head *head = area;
    if (!is_sound(buckets, extensions) || bytes < uf_table_bytes(buckets, extensions)) {
        return UF_INVALID;
    }
    head->buckets = buckets;
    head->extensions = extensions;
    return UF_OK; /* zeroed buckets are empty */
}

int uf_table_open(struct uf_table *table, void *area, uint64_t bytes, struct uf_pool *pool,
                  _Atomic uint64_t *intent, uint64_t seed, uint32_t me)
{
    struct uf_table_head head;
    if (area == NULL || bytes < sizeof head) {
        return UF_CORRUPT;
    }
    memcpy(&head, area, sizeof head);
    if (!is_sound(head.buckets, head.extensions) ||
        uf_table_bytes(head.buckets, head.extensions) > bytes) {
        return UF_CORRUPT;
    }
    uint8_t *base = area;
    table->extension_owner = (_Atomic uint64_t *)(void *)(base + owners_offset());
    table->bucket = (struct uf_bucket *)(void *)(base + buckets_offset(head.extensions));
    table->extension = (struct uf_extension *)(void *)(table->bucket + head.buckets);
    table->pool = pool;
    table->intent = intent;
    table->seed = seed;
    table->buckets = head.buckets;
    table->extensions = head.extensions;
    table->me = me;
    return UF_OK;
}

void uf_table_store(struct uf_value *value, uint64_t offset, const void *data, uint64_t bytes)
{
    _Atomic uint64_t *to = uf_table_payload(value, offset);
    const uint8_t *from = data;
    uint64_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, from + i, 8);
        atomic_store_explicit(to++, word, memory_order_release); /* V3 */
    }
    if (i < bytes) {
        uint64_t word = 0;
        memcpy(&word, from + i, bytes - i);
        atomic_store_explicit(to, word, memory_order_release); /* V3 */
    }
}

void uf_table_intend(struct uf_table *table, uint32_t handle, uint64_t owner)
{
    uint64_t intent = handle == UF_HANDLE_NONE ? 0 : uf_table_stamp(owner, handle);
    /* V7. Relaxed: the slot CAS after it releases it; cleared late, it names a block that is no
     * longer TABLE at that version, and recovery passes over it. */
    atomic_store_explicit(table->intent, intent, memory_order_relaxed);
}

void uf_table_retire(struct uf_table *table, uint32_t handle, uint64_t owner)
{
    UF_STEP(T9);
    /* W2, in uf_hold.c: not a store, for recovery may have been here first, and views may keep it. */
    if (uf_hold_release(table->pool, handle, uf_word_version(owner))) {
        UF_STEP(T10);
        uf_pool_give(table->pool, handle);
    }
}

void uf_table_finish_delete(struct uf_table *table, uint32_t bucket, uint32_t index, uint64_t word)
{
    _Atomic uint64_t *head_word = &table->bucket[bucket].head;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        uint64_t head = atomic_load_explicit(head_word, memory_order_acquire); /* V6 */
        _Atomic uint64_t *slot = uf_table_slot(table, bucket, head, index);
        /* Acquire: with T4's release; read after the head, so an unchanged head proves that the
         * valid bit is this word's. */
        if (slot == NULL || atomic_load_explicit(slot, memory_order_acquire) != word) {
            return; /* finished by somebody else */
        }
        uint32_t valid = uf_head_valid(head);
        if ((valid >> index & 1) != 0) {
            /* T5; V5. Release: as any head CAS. Failure relaxed: read it again. */
            if (!atomic_compare_exchange_strong_explicit(
                    head_word, &head,
                    uf_head_next(head, uf_head_extension(head), valid & ~(1u << index)),
                    memory_order_release, memory_order_relaxed)) {
                continue;
            }
            UF_STEP(T5);
        }
        uint32_t handle = (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1);
        const struct uf_value *value = uf_pool_block(table->pool, handle);
        if (value == NULL) {
            return;
        }
        /* Relaxed: the comparison judges. */
        uint64_t owner = atomic_load_explicit(&value->owner, memory_order_relaxed);
        if (!uf_word_is_entry(owner) ||
            uf_table_word(word >> 48, owner, handle) != (word & ~UF_WORD_DELETED)) {
            return; /* finished and the block reused: an intent would name somebody else's entry */
        }
        uf_table_intend(table, handle, owner);
        UF_STEP(T6a);
        /* T6. Release: the intent is known; whoever wins has the block. */
        if (atomic_compare_exchange_strong_explicit(slot, &word, 0, memory_order_release,
                                                    memory_order_relaxed)) {
            UF_STEP(T6);
            uf_table_retire(table, handle, owner);
        }
        uf_table_intend(table, UF_HANDLE_NONE, 0);
        return;
    }
}

/* Empty the slots that the dead process reserved, finish its deletes, and mark the blocks that the
 * table still names. */
static void recover_bucket(struct uf_table *table, uint32_t bucket, uint32_t dead, uint64_t *seen,
                           struct uf_table_recovery *done)
{
    for (uint32_t i = 0; i < UF_TABLE_SLOTS; i++) {
        uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
        _Atomic uint64_t *slot = uf_table_slot(table, bucket, head, i);
        uint64_t word = slot == NULL ? 0 : atomic_load_explicit(slot, memory_order_acquire);
        if (word == 0) {
            continue;
        }
        uint32_t handle = (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1);
        if (uf_word_is_deleted(word)) {
            uf_table_finish_delete(table, bucket, i, word);
            uf_pool_seen(table->pool, seen, handle, true); /* T6's winner gives it back */
            done->emptied++;
            continue;
        }
        const struct uf_value *value = uf_pool_block(table->pool, handle);
        if (value == NULL) {
            continue;
        }
        bool reserved = (uf_head_valid(head) >> i & 1) == 0;
        /* Of the others the block is not looked at: they are many, and each is a line of its own. */
        uint64_t owner = reserved ? atomic_load_explicit(&value->owner, memory_order_acquire) : 0;
        if (reserved && uf_word_owner(owner) == dead && uf_word_state(owner) == UF_BLOCK_TABLE &&
            uf_table_word(word >> 48, owner, handle) == word) {
            /* T1 was its last step. Release and failure: as its withdrawal. */
            atomic_compare_exchange_strong_explicit(slot, &word, 0, memory_order_release,
                                                    memory_order_relaxed);
            UF_STEP(T11);
            done->emptied++;
            continue;
        }
        uf_pool_seen(table->pool, seen, handle, true);
    }
}

void uf_table_recover(struct uf_table *table, uint32_t dead, uint64_t intent, uint64_t *seen,
                      struct uf_table_recovery *done)
{
    struct uf_pool *pool = table->pool;
    *done = (struct uf_table_recovery){0};
    for (uint32_t e = 0; e < table->extensions; e++) {
        uint64_t owner = atomic_load_explicit(&table->extension_owner[e], memory_order_acquire);
        if (owner >> 32 != dead || owner == 0) {
            continue;
        }
        uint32_t bucket = (uint32_t)owner - 1;
        bool used = bucket < table->buckets &&
                    uf_head_extension(atomic_load_explicit(&table->bucket[bucket].head,
                                                           memory_order_acquire)) == e + 1;
        /* A store: its claimer is dead and we hold its lock. */
        atomic_store_explicit(&table->extension_owner[e], used ? (uint64_t)bucket + 1 : 0,
                              memory_order_release);
    }
    for (uint32_t b = 0; b < table->buckets; b++) {
        recover_bucket(table, b, dead, seen, done);
    }
    for (uint32_t c = 0; c < pool->classes; c++) {
        for (uint32_t i = 0; i < pool->class[c].count; i++) {
            uint32_t handle = uf_handle(c, i);
            const struct uf_value *value = uf_pool_block(pool, handle);
            uint64_t word = atomic_load_explicit(&value->owner, memory_order_acquire); /* W2 */
            uint32_t state = uf_word_state(word);
            bool its =
                uf_word_owner(word) == dead && (state == UF_BLOCK_OWNED || state == UF_BLOCK_TABLE);
            if (its && (state == UF_BLOCK_OWNED || !uf_pool_seen(pool, seen, handle, false))) {
                done->freed += uf_pool_reclaim(pool, handle, word);
            }
            /* It meant to unlink this one, and did: views may keep it still. */
            if (uf_word_is_entry(word) && uf_table_stamp(word, handle) == intent &&
                !uf_pool_seen(pool, seen, handle, false) &&
                uf_hold_release(pool, handle, uf_word_version(word))) {
                uf_pool_give(pool, handle);
                done->freed++;
            }
            uf_hold_recover(pool, handle, dead);
        }
    }
    uf_pool_repair(pool);
}
