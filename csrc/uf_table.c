#include "uf_table.h"
#include "uf_table_in.h"

#include <string.h>

/* Take a block for the entry and write it, all of it, before anybody can see it. */
static int fill(struct uf_table *table, const struct uf_key *key, const void *data, uint64_t bytes,
                const struct uf_entry *entry, uint32_t *handle)
{
    uint64_t key_bytes = (uint64_t)key->words_count * 8;
    if (bytes > UINT32_MAX - key_bytes - 8) {
        return UF_TOO_BIG;
    }
    int status = uf_pool_take(table->pool, (uint32_t)(key_bytes + uf_round_up(bytes, 8)), handle);
    if (status != UF_OK) {
        return status;
    }
    struct uf_value *value = uf_pool_block(table->pool, *handle);
    /* V3 -> V4, all of these. Release: a late reader that reads one of these words also reads the
     * owner word's new version, and knows that its entry is gone. */
    atomic_store_explicit(&value->use, entry->use, memory_order_release);
    atomic_store_explicit(&value->sizes,
                          uf_value_sizes(key->space_bytes, key->key_bytes, (uint32_t)bytes),
                          memory_order_release);
    atomic_store_explicit(&value->hash, key->hash, memory_order_release);
    atomic_store_explicit(&value->expires_ns, entry->expires_ns, memory_order_release);
    atomic_store_explicit(&value->tag, entry->tag, memory_order_release);
    uf_table_store(value, 0, key->words, key_bytes);
    uf_table_store(value, key_bytes, data, bytes);
    uint64_t word = atomic_load_explicit(&value->owner, memory_order_relaxed); /* ours */
    /* V1. Release, and before the slot names it: recovery that finds TABLE looks for a slot. */
    atomic_store_explicit(&value->owner, uf_word_as(word, UF_BLOCK_TABLE, table->me, 0),
                          memory_order_release);
    UF_STEP(V1);
    return UF_OK;
}

/* The block never became visible: back to the pool. */
static void unfill(struct uf_table *table, uint32_t handle)
{
    struct uf_value *value = uf_pool_block(table->pool, handle);
    uint64_t word = atomic_load_explicit(&value->owner, memory_order_relaxed); /* ours */
    atomic_store_explicit(&value->owner,
                          uf_word(uf_word_version(word) + 1, UF_BLOCK_OWNED, table->me, 0),
                          memory_order_release); /* W1 */
    uf_pool_give(table->pool, handle);
}

/* Replace what `found` names by `handle`. BUSY: its slot has another word by now. */
static int replace(struct uf_table *table, struct uf_found *found, uint64_t fresh)
{
    uint64_t word = found->word;
    uf_table_intend(table, found->handle, found->owner);
    UF_STEP(T3a);
    /* T3; V1 -> V2, V7. Release: the entry is complete, the intent is known. Failure relaxed: the
     * caller looks the key up again. */
    bool won = atomic_compare_exchange_strong_explicit(found->slot, &word, fresh,
                                                       memory_order_release, memory_order_relaxed);
    UF_STEP(T3);
    if (won) {
        uf_table_retire(table, found->handle, found->owner);
    }
    uf_table_intend(table, UF_HANDLE_NONE, 0);
    return won ? UF_OK : UF_BUSY;
}

/* Give the bucket a line of eight more slots. OK: it has one now, whoever gave it. */
static int extend(struct uf_table *table, uint32_t bucket, uint64_t head)
{
    uint64_t mine = ((uint64_t)table->me << 32) | (bucket + 1);
    for (uint32_t e = 0; e < table->extensions; e++) {
        uint64_t nobody = 0;
        /* Acquire, the load: if it was this bucket's that took it, and is done, the head shows it.
         * Acquire, the CAS: its last (failed) claimer is done with it. Failure: as the load. */
        if (atomic_load_explicit(&table->extension_owner[e], memory_order_acquire) != 0 ||
            !atomic_compare_exchange_strong_explicit(&table->extension_owner[e], &nobody, mine,
                                                     memory_order_acquire, memory_order_acquire)) {
            continue;
        }
        UF_STEP(T7);
        uint64_t extended = uf_head_next(head, (uint64_t)e + 1, uf_head_valid(head));
        /* V5. Release: as any head CAS. Failure relaxed: the bucket changed, look again. */
        bool won =
            atomic_compare_exchange_strong_explicit(&table->bucket[bucket].head, &head, extended,
                                                    memory_order_release, memory_order_relaxed);
        UF_STEP(T8);
        /* The claimer's name goes: the bucket owns it, or nobody does. */
        atomic_store_explicit(&table->extension_owner[e], won ? (uint64_t)bucket + 1 : 0,
                              memory_order_release);
        return UF_OK;
    }
    return UF_STORE_FULL;
}

/* Insert into the bucket whose head was `found->head` when the key was not in it. */
static int insert(struct uf_table *table, struct uf_found *found, uint64_t fresh)
{
    uint32_t valid = uf_head_valid(found->head);
    uint32_t slots = uf_head_extension(found->head) != 0 ? UF_TABLE_SLOTS : UF_BUCKET_SLOTS;
    for (uint32_t i = 0; i < slots; i++) {
        _Atomic uint64_t *slot = uf_table_slot(table, found->bucket, found->head, i);
        /* Acquire: with T4's release, the head that finish_delete reads is no older than the entry. */
        uint64_t word = slot == NULL ? 1 : atomic_load_explicit(slot, memory_order_acquire);
        if (slot != NULL && uf_word_is_deleted(word)) {
            uf_table_finish_delete(table, found->bucket, i, word);
            return UF_BUSY; /* the head has changed: look again */
        }
        /* Acquire on success: the slot's last user is done with it. Failure relaxed: the next slot. */
        if ((valid >> i & 1) != 0 || word != 0 ||
            !atomic_compare_exchange_strong_explicit(slot, &word, fresh, memory_order_acq_rel,
                                                     memory_order_relaxed)) {
            continue;
        }
        UF_STEP(T1);
        uint64_t head = found->head;
        /* T2; V5 -> V6. Release: the slot is written. Failure relaxed: somebody inserted or deleted,
         * perhaps this very key: withdraw and look again. */
        if (atomic_compare_exchange_strong_explicit(
                &table->bucket[found->bucket].head, &head,
                uf_head_next(head, uf_head_extension(head), valid | 1u << i), memory_order_release,
                memory_order_relaxed)) {
            UF_STEP(T2);
            return UF_OK;
        }
        /* Release. A store: a reserved slot is its reserver's alone. */
        atomic_store_explicit(slot, 0, memory_order_release);
        return UF_BUSY;
    }
    if (uf_head_extension(found->head) == 0 && extend(table, found->bucket, found->head) == UF_OK) {
        return UF_BUSY; /* the head has changed: look again */
    }
    /* Relaxed: only whether it changed. Then others inserted or deleted, perhaps this very key, or gave
     * the bucket its extension. */
    bool same = atomic_load_explicit(&table->bucket[found->bucket].head, memory_order_relaxed) ==
                found->head;
    return same ? UF_STORE_FULL : UF_BUSY;
}

static int attempt(struct uf_table *table, const struct uf_key *key, uint64_t now_ns, uint32_t mode,
                   struct uf_entry *entry, uint64_t fresh)
{
    struct uf_found found;
    struct uf_entry old;
    int status = uf_table_find(table, key, &found);
    if (status == UF_OK) {
        uf_table_describe(&found, &old);
        if (!uf_table_is_still(&found)) {
            return UF_BUSY;
        }
        bool expired = old.expires_ns != 0 && now_ns >= old.expires_ns;
        if (mode == UF_SET_NEW && !expired) {
            entry->stamp = old.stamp;
            return UF_EXISTS;
        }
        if (mode == UF_SET_STAMP && (expired || old.stamp != entry->stamp)) {
            entry->stamp = expired ? 0 : old.stamp;
            return expired ? UF_MISSING : UF_EXISTS;
        }
        return replace(table, &found, fresh);
    }
    if (status == UF_MISSING) {
        return mode == UF_SET_STAMP ? UF_MISSING : insert(table, &found, fresh);
    }
    return status;
}

int uf_table_set(struct uf_table *table, const struct uf_key *key, const void *data, uint64_t bytes,
                 uint64_t now_ns, uint32_t mode, struct uf_entry *entry)
{
    uint32_t handle;
    uf_prefetch(&table->bucket[uf_table_bucket(table, key->hash)]); /* while the block is filled */
    int status = fill(table, key, data, bytes, entry, &handle);
    if (status != UF_OK) {
        return status;
    }
    const struct uf_value *value = uf_pool_block(table->pool, handle);
    uint64_t owner = atomic_load_explicit(&value->owner, memory_order_relaxed); /* ours */
    uint64_t fresh = uf_table_word(key->hash, owner, handle);
    status = UF_BUSY;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES && status == UF_BUSY; tries++) {
        status = attempt(table, key, now_ns, mode, entry, fresh);
    }
    if (status == UF_OK) {
        entry->stamp = uf_table_stamp(owner, handle);
    } else {
        unfill(table, handle);
    }
    return status;
}

int uf_table_delete(struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                    uint64_t stamp)
{
    struct uf_found found;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        int status = uf_table_find(table, key, &found);
        if (status != UF_OK) {
            return status;
        }
        /* V4. Relaxed: T4 judges it. If it succeeds, the block was the entry's until then, and who
         * writes the word anew has acquired what T4 released. */
        uint64_t expires = atomic_load_explicit(&found.value->expires_ns, memory_order_relaxed);
        bool expired = expires != 0 && now_ns >= expires;
        if (!expired && stamp != 0 && uf_table_stamp(found.owner, found.handle) != stamp) {
            return UF_EXISTS;
        }
        uint64_t word = found.word;
        /* T4. Release: nothing of ours travels, but T5 and T6 may be done by others who acquire.
         * Failure relaxed: the key is looked up again. */
        if (atomic_compare_exchange_strong_explicit(found.slot, &word, word | UF_WORD_DELETED,
                                                    memory_order_release, memory_order_relaxed)) {
            UF_STEP(T4);
            uf_table_finish_delete(table, found.bucket, found.index, word | UF_WORD_DELETED);
            return expired ? UF_MISSING : UF_OK;
        }
    }
    return UF_BUSY;
}

int uf_table_next(const struct uf_table *table, uint64_t *cursor, uint64_t now_ns, uint64_t *words,
                  struct uf_entry *entry)
{
    for (; *cursor / 16 < table->buckets; (*cursor)++) {
        uint32_t bucket = (uint32_t)(*cursor / 16);
        uint32_t index = (uint32_t)(*cursor % 16);
        for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
            struct uf_found found;
            if (index >= UF_TABLE_SLOTS || !uf_table_look(table, bucket, index, &found)) {
                break;
            }
            uf_table_describe(&found, entry);
            uint64_t bytes = (uint64_t)entry->space_bytes + entry->key_bytes;
            bool fits =
                bytes <= UF_KEY_BYTES_MAX && bytes <= uf_pool_room(table->pool, found.handle);
            if (fits) {
                uf_table_load(words, found.value, 0, bytes);
            }
            if (!uf_table_is_still(&found)) {
                continue; /* replaced as we read: read what is there now */
            }
            if (!fits || /* damaged: passed over */
                (entry->expires_ns != 0 && now_ns >= entry->expires_ns)) {
                break;
            }
            (*cursor)++;
            return UF_OK;
        }
    }
    return UF_EMPTY;
}

uint64_t uf_table_count(const struct uf_table *table)
{
    uint64_t count = 0;
    for (uint32_t b = 0; b < table->buckets; b++) {
        /* Relaxed: a count. */
        uint64_t head = atomic_load_explicit(&table->bucket[b].head, memory_order_relaxed);
        count += (uint64_t)__builtin_popcount(uf_head_valid(head));
    }
    return count;
}
