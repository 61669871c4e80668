#include "uf_table_in.h"

#include <string.h>

/* Finding a key's entry and copying it. */

void uf_table_near(const struct uf_table *table, uint64_t hash)
{
    __builtin_prefetch(&table->bucket[uf_table_bucket(table, hash)]);
}

static inline void load(void *out, const struct uf_value *value, uint64_t offset, uint64_t bytes)
{
    _Atomic uint64_t *from = uf_table_payload(value, offset);
    uint8_t *to = out;
    uint64_t i = 0;
#pragma GCC unroll 4
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word = atomic_load_explicit(from++, memory_order_acquire); /* V4 */
        memcpy(to + i, &word, 8);
    }
    if (i < bytes) {
        uint64_t word = atomic_load_explicit(from, memory_order_acquire); /* V4 */
        memcpy(to + i, &word, bytes - i);
    }
}

void uf_table_load(void *out, const struct uf_value *value, uint64_t offset, uint64_t bytes)
{
    load(out, value, offset, bytes);
}

/* Whether a slot whose word was read after `head` held one of the bucket's entries. Between the two
 * reads an entry may have gone and its slot been reserved (T1) for one that is not visible before T2,
 * if ever. The bit was cleared before the slot was reserved, and so the head shows it. That the bit is
 * set again says nothing: the reservation may be withdrawn, and another entry stand there. */
static bool is_head_still(const struct uf_table *table, uint32_t bucket, uint64_t head)
{
    /* V6 <- V5. Acquire: as the first read. */
    return atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire) == head;
}

/* A slot's block was another's already, so the slot has changed too: it changes first, and whoever
 * reads the block's new owner word (acquire; W2's release) reads the slot's new word. If it has not
 * changed, nobody of ours wrote it, and reading it again would never end. */
static bool is_damaged(const struct uf_found *found)
{
    /* Relaxed: ordered by the acquire load of the owner word before it. */
    return atomic_load_explicit(found->slot, memory_order_relaxed) == found->word;
}

bool uf_table_look(const struct uf_table *table, uint32_t bucket, uint32_t index,
                   struct uf_found *found)
{
    found->bucket = bucket;
    found->index = index;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        /* V6 <- V5. Acquire: the slots of valid bits are written. */
        found->head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
        found->slot = uf_table_slot(table, bucket, found->head, index);
        if ((uf_head_valid(found->head) >> index & 1) == 0 || found->slot == NULL) {
            return false;
        }
        /* V2 <- V1. Acquire: the entry is complete. */
        found->word = atomic_load_explicit(found->slot, memory_order_acquire);
        if (found->word == 0 || uf_word_is_deleted(found->word)) {
            return false;
        }
        found->handle = (uint32_t)found->word & ((1u << UF_HANDLE_BITS) - 1);
        found->value = uf_pool_block(table->pool, found->handle);
        if (found->value == NULL) {
            return false; /* a damaged region: nothing of ours writes such a word */
        }
        found->owner = atomic_load_explicit(&found->value->owner, memory_order_acquire);
        uint64_t expected = uf_table_word(found->word >> 48, found->owner, found->handle);
        if (uf_word_is_entry(found->owner) && expected == found->word) {
            if (is_head_still(table, bucket, found->head)) {
                return true;
            }
            continue;
        }
        if (is_damaged(found)) {
            return false;
        }
    }
    return false;
}

/* Whether the entry is the key's: sure when the owner word is still the same. */
static inline bool is_of(const struct uf_found *found, const struct uf_key *key)
{
    const struct uf_value *value = found->value;
    uint64_t names = uf_value_sizes(key->space_bytes, key->key_bytes, 0);
    /* V4, each. Acquire: the owner word is read again after them. */
    if (atomic_load_explicit(&value->hash, memory_order_acquire) != key->hash ||
        (atomic_load_explicit(&value->sizes, memory_order_acquire) ^ names) >> 32 != 0) {
        return false;
    }
    const _Atomic uint64_t *word = uf_table_payload(value, 0);
    uint64_t difference = 0;
    for (uint32_t i = 0; i < key->words_count; i++) {
        difference |= atomic_load_explicit(&word[i], memory_order_acquire) ^ key->words[i];
    }
    return difference == 0;
}

/* Read a slot. OK: its word has the fingerprint, and `found` says what it names. MISSING: it has not. */
static inline int point(const struct uf_table *table, uint32_t index, uint64_t hash,
                        struct uf_found *found)
{
    _Atomic uint64_t *slot = uf_table_slot(table, found->bucket, found->head, index);
    /* V2 <- V1. Acquire: the entry behind the word is complete. */
    uint64_t word = slot == NULL ? 0 : atomic_load_explicit(slot, memory_order_acquire);
    if (word >> 48 != (hash & 0xffff) || word == 0 || uf_word_is_deleted(word)) {
        return UF_MISSING;
    }
    uint32_t handle = (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1);
    struct uf_value *value = uf_pool_block(table->pool, handle);
    if (UF_UNLIKELY(value == NULL)) {
        return UF_CORRUPT;
    }
    /* Key and value, while the head is waited for; at worst the next block's. */
    __builtin_prefetch((const uint8_t *)value + UF_LINE);
    __builtin_prefetch((const uint8_t *)value + 2 * UF_LINE);
    found->word = word;
    found->slot = slot;
    found->value = value;
    found->handle = handle;
    found->index = index;
    return UF_OK;
}

/* Whether what `point` found is the key's. OK: but for a look at the owner word when the caller has read
 * what it wants. BUSY: the bucket or the entry changed, and a miss would perhaps be a false one. `room`:
 * for payload in the entry's block, the key's included. */
static inline int meet(const struct uf_table *table, const struct uf_key *key,
                       struct uf_found *found, uint64_t *room)
{
    found->owner = atomic_load_explicit(&found->value->owner, memory_order_acquire);
    if (UF_UNLIKELY(!uf_word_is_entry(found->owner) ||
                    uf_table_word(key->hash, found->owner, found->handle) != found->word)) {
        return is_damaged(found) ? UF_CORRUPT : UF_BUSY;
    }
    *room = uf_pool_room(table->pool, found->handle);
    if (UF_UNLIKELY(*room < (uint64_t)key->words_count * 8)) {
        return UF_MISSING; /* another key's: blocks keep their size */
    }
    if (UF_LIKELY(is_of(found, key))) {
        return UF_LIKELY(is_head_still(table, found->bucket, found->head)) ? UF_OK : UF_BUSY;
    }
    return uf_table_is_still(found) ? UF_MISSING : UF_BUSY;
}

/* As uf_table_find, but what `meet` leaves to its caller is left to this one's. */
__attribute__((always_inline)) static inline int
seek(const struct uf_table *table, const struct uf_key *key, struct uf_found *found, uint64_t *room)
{
    const uint32_t bucket = uf_table_bucket(table, key->hash);
    found->bucket = bucket;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        /* V6 <- V5. Acquire: the slots of valid bits are written. */
        uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
        UF_STEP(V6);
        int status = UF_MISSING;
        uint32_t left = uf_table_candidates(table, bucket, head, key->hash);
        found->head = head;
        while (left != 0 && status == UF_MISSING) {
            status = point(table, (uint32_t)__builtin_ctz(left), key->hash, found);
            left &= left - 1;
            if (status == UF_OK) {
                UF_STEP(V2);
                status = meet(table, key, found, room);
            }
        }
        if (UF_LIKELY(status != UF_BUSY)) {
            return status;
        }
    }
    return UF_BUSY;
}

int uf_table_find(const struct uf_table *table, const struct uf_key *key, struct uf_found *found)
{
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        uint64_t room;
        int status = seek(table, key, found, &room);
        if (status != UF_OK || uf_table_is_still(found)) {
            return status;
        }
    }
    return UF_BUSY;
}

/* What the key's entry says of itself. BUSY: its length is another entry's. */
static inline int describe(const struct uf_key *key, const struct uf_found *found,
                           uint64_t room_in_block, struct uf_entry *entry)
{
    const uint64_t offset = (uint64_t)key->words_count * 8;
    uf_table_describe(found, entry);
    if (entry->value_bytes > room_in_block - offset) {
        return uf_table_is_still(found) ? UF_CORRUPT : UF_BUSY;
    }
    UF_STEP(V4);
    return UF_OK;
}

int uf_table_glance(const struct uf_table *table, const struct uf_key *key, struct uf_found *found,
                    struct uf_entry *entry)
{
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        uint64_t room;
        int status = seek(table, key, found, &room);
        if (status == UF_OK) {
            status = describe(key, found, room, entry);
        }
        if (UF_LIKELY(status != UF_BUSY)) {
            return status;
        }
    }
    return UF_BUSY;
}

int uf_table_nearer(const struct uf_table *table, uint64_t hash, struct uf_found *found)
{
    found->bucket = uf_table_bucket(table, hash);
    /* V6 <- V5. Acquire: as in seek. */
    found->head = atomic_load_explicit(&table->bucket[found->bucket].head, memory_order_acquire);
    uint32_t alike = uf_table_candidates(table, found->bucket, found->head, hash);
    if (alike == 0) {
        return UF_MISSING;
    }
    int status = point(table, (uint32_t)__builtin_ctz(alike), hash, found);
    if (status == UF_OK) {
        __builtin_prefetch(found->value);
    }
    return (alike & (alike - 1)) == 0 ? status : UF_BUSY;
}

int uf_table_met(const struct uf_table *table, const struct uf_key *key, struct uf_found *found,
                 struct uf_entry *entry)
{
    uint64_t room;
    int status = meet(table, key, found, &room);
    return status == UF_OK ? describe(key, found, room, entry) : status;
}

bool uf_table_fetch(const struct uf_table *table, const struct uf_found *found,
                    const struct uf_key *key, void *out, uint64_t bytes)
{
    load(out, found->value, (uint64_t)key->words_count * 8, bytes);
    /* V4. The owner word again, after every word of the copy: unchanged, the copy is whole. */
    if (UF_UNLIKELY(!uf_table_is_still(found))) {
        return false;
    }
    uf_table_touch(table, found->value);
    return true;
}

bool uf_table_lacks(const struct uf_table *table, uint64_t hash)
{
    uint32_t bucket = uf_table_bucket(table, hash);
    /* V6 <- V5. Acquire: the slots of valid bits are written. */
    uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
    return uf_table_candidates(table, bucket, head, hash) == 0;
}

bool uf_table_again(const struct uf_table *table, const struct uf_found *found)
{
    /* V2. Acquire: the owner word is read after it. It has the version's other bits, and versions only grow,
     * so the slot's word was of the same one. */
    if (atomic_load_explicit(found->slot, memory_order_acquire) != found->word ||
        UF_UNLIKELY(!uf_table_is_still(found))) {
        return false;
    }
    uf_table_touch(table, found->value);
    return true;
}

int uf_table_read(const struct uf_table *table, const struct uf_key *key, uint64_t now_ns,
                  uf_table_place *place, void *where, struct uf_entry *entry)
{
    struct uf_found found;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        int status = uf_table_glance(table, key, &found, entry);
        if (status != UF_OK) {
            return status;
        }
        void *out = place(where, entry);
        if (uf_table_fetch(table, &found, key, out, out == NULL ? 0 : entry->value_bytes)) {
            if (entry->expires_ns != 0 && now_ns >= entry->expires_ns) {
                return UF_MISSING;
            }
            return out != NULL ? UF_OK : UF_TOO_BIG;
        }
    }
    return UF_BUSY;
}

struct room {
    void *out;
    uint64_t bytes;
};

static void *place_in_room(void *where, const struct uf_entry *entry)
{
    const struct room *room = where;
    /* Of an empty value nothing is written, but NULL would say that there is no room for it. */
    void *out = room->out == NULL ? where : room->out;
    return entry->value_bytes <= room->bytes ? out : NULL;
}

int uf_table_get(const struct uf_table *table, const struct uf_key *key, uint64_t now_ns, void *out,
                 uint64_t room, struct uf_entry *entry)
{
    struct room whole = {out, room};
    return uf_table_read(table, key, now_ns, place_in_room, &whole, entry);
}
