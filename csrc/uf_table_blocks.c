#include "uf_table.h"
#include "uf_table_in.h"

/* Entries by the block that they lie in: kept there for a view, or judged and taken away. */

int uf_table_hold(struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                  struct uf_held *held, struct uf_entry *entry)
{
    struct uf_found found;
    const uint64_t offset = (uint64_t)key->words_count * 8;
    int status = UF_BUSY;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES && status != UF_OK; tries++) {
        status = uf_table_find(table, key, &found);
        if (status != UF_OK) {
            return status;
        }
        int name = uf_hold_name(table->pool, found.handle);
        if (name < 0) {
            return name;
        }
        held->handle = found.handle;
        held->name = (uint32_t)name;
        status = uf_hold_take(table->pool, found.handle, uf_word_version(found.owner), held->name);
        if (status != UF_OK) {
            uf_hold_leave(table->pool, found.handle, held->name);
        }
    }
    if (status != UF_OK) {
        return UF_BUSY;
    }
    /* Held, it is what it is: nobody fills the block before we let go. */
    uf_table_describe(&found, entry);
    status = entry->value_bytes > uf_pool_room(table->pool, found.handle) - offset ? UF_CORRUPT
             : entry->expires_ns != 0 && now_ns >= entry->expires_ns               ? UF_MISSING
                                                                                   : UF_OK;
    if (status != UF_OK) {
        uf_hold_drop(table->pool, held->handle, held->name);
        return status;
    }
    uf_table_touch(table, found.value);
    held->data = (const uint8_t *)found.value + UF_BLOCK_HEAD + offset;
    return UF_OK;
}

int uf_table_entry_in(const struct uf_table *table, uint32_t handle, void *space, uint64_t room,
                      struct uf_entry *entry)
{
    struct uf_found found = {.handle = handle, .value = uf_pool_block(table->pool, handle)};
    if (found.value == NULL) {
        return UF_INVALID;
    }
    /* V4. Acquire, and once more after all else: unchanged, all of it is one entry's. */
    found.owner = atomic_load_explicit(&found.value->owner, memory_order_acquire);
    if (uf_word_state(found.owner) != UF_BLOCK_TABLE) {
        return UF_MISSING;
    }
    uf_table_describe(&found, entry);
    uint64_t bytes = entry->space_bytes;
    if (bytes > room || bytes > uf_pool_room(table->pool, handle)) {
        bytes = 0;
    }
    uf_table_load(space, found.value, 0, bytes);
    return uf_table_is_still(&found) ? UF_OK : UF_MISSING;
}

uint32_t uf_table_neighbour(const struct uf_table *table, uint64_t hash, uint32_t index)
{
    struct uf_found found;
    return index < UF_TABLE_SLOTS &&
                   uf_table_look(table, uf_table_bucket(table, hash), index, &found)
               ? found.handle
               : UF_HANDLE_NONE;
}

int uf_table_remove(struct uf_table *table, uint64_t stamp)
{
    uint32_t handle = (uint32_t)stamp & ((1u << UF_HANDLE_BITS) - 1);
    const struct uf_value *value = uf_pool_block(table->pool, handle);
    if (value == NULL) {
        return UF_MISSING;
    }
    /* V4. Acquire: a hash read with another entry's owner word leads to no slot with this word. */
    uint64_t hash = atomic_load_explicit(&value->hash, memory_order_acquire);
    uint64_t owner = uf_word(stamp >> UF_HANDLE_BITS, 0, 0, 0);
    uint64_t wanted = uf_table_word(hash, owner, handle);
    uint32_t bucket = uf_table_bucket(table, hash);
    for (uint32_t i = 0; i < UF_TABLE_SLOTS; i++) {
        struct uf_found found;
        if (!uf_table_look(table, bucket, i, &found) || found.word != wanted ||
            uf_table_stamp(found.owner, found.handle) != stamp) {
            continue;
        }
        uint64_t word = wanted;
        /* T4. As uf_table_delete. Failure: it was replaced or deleted, and is gone all the same. */
        if (atomic_compare_exchange_strong_explicit(found.slot, &word, word | UF_WORD_DELETED,
                                                    memory_order_release, memory_order_relaxed)) {
            UF_STEP(T4);
            uf_table_finish_delete(table, bucket, i, wanted | UF_WORD_DELETED);
            return UF_OK;
        }
        return UF_MISSING;
    }
    return UF_MISSING;
}
