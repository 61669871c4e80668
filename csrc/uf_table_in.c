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

static inline uint64_t mixed(uint64_t a, uint64_t b)
{
    /* Multiply to 128 bits and fold: the mixing step of Wang Yi's wyhash. */
    unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

/* The 1 to 7 bytes at `from` as a word. By loads alone: words put together in memory and read again at
 * once wait for the stores. */
static inline uint64_t short_word(const uint8_t *from, uint64_t bytes)
{
    uint32_t first, last;
    if (bytes >= 4) {
        memcpy(&first, from, 4);
        memcpy(&last, from + bytes - 4, 4);
        return first | (uint64_t)last << (bytes - 4) * 8;
    }
    return from[0] | (uint64_t)from[bytes / 2] << bytes / 2 * 8 |
           (uint64_t)from[bytes - 1] << (bytes - 1) * 8;
}

/* The length goes into the seed: a name is not the same name with zeros behind it. */
static inline uint64_t hash_of(uint64_t seed, const uint8_t *name, uint64_t bytes)
{
    uint64_t hash = mixed(seed ^ 0xa0761d6478bd642full, bytes | 1ull << 63);
    uint64_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word;
        memcpy(&word, name + i, 8);
        hash = mixed(hash ^ word, 0xe7037ed1a0b428dbull);
    }
    if (i < bytes) {
        hash = mixed(hash ^ short_word(name + i, bytes - i), 0xe7037ed1a0b428dbull);
    }
    return hash;
}

/* memcpy of what is short, without the call. */
static inline void copy_short(uint8_t *to, const uint8_t *from, uint64_t bytes)
{
    uint64_t first, last;
    if (UF_UNLIKELY(bytes > 16)) {
        memcpy(to, from, bytes);
    } else if (bytes >= 8) {
        memcpy(&first, from, 8);
        memcpy(&last, from + bytes - 8, 8);
        memcpy(to, &first, 8);
        memcpy(to + bytes - 8, &last, 8);
    } else if (bytes > 0) {
        uint64_t word = short_word(from, bytes);
        memcpy(to, &word, 8); /* the buffer has a word more than the longest name */
    }
}

int uf_key_make(struct uf_key *key, uint64_t seed, uint64_t *buffer, const void *space,
                uint64_t space_bytes, const void *name, uint64_t name_bytes)
{
    if (space_bytes > UF_KEY_BYTES_MAX || name_bytes > UF_KEY_BYTES_MAX - space_bytes) {
        return UF_INVALID;
    }
    uint64_t bytes = space_bytes + name_bytes;
    uint32_t count = (uint32_t)(uf_round_up(bytes, 8) / 8);
    /* Two chains, so that neither waits for the other: "ab", "c" is not "a", "bc". */
    uint64_t hash = mixed(hash_of(seed, space, space_bytes) ^ 0x8ebc6af09c88c6e3ull,
                          hash_of(~seed, name, name_bytes) ^ 0x589965cc75374cc3ull);
    if (count > 0) {
        buffer[count - 1] = 0;
        copy_short((uint8_t *)buffer, space, space_bytes);
        copy_short((uint8_t *)buffer + space_bytes, name, name_bytes);
    }
    key->hash = hash;
    key->words = buffer;
    key->words_count = count;
    key->space_bytes = (uint16_t)space_bytes;
    key->key_bytes = (uint16_t)name_bytes;
    return UF_OK;
}

void uf_table_near(const struct uf_table *table, uint64_t hash)
{
    __builtin_prefetch(&table->bucket[uf_table_bucket(table, hash)]);
}

void uf_table_nearer(const struct uf_table *table, uint64_t hash)
{
    uint32_t bucket = uf_table_bucket(table, hash);
    /* Relaxed, both: nothing is concluded from them, a wrong block is brought near for nothing. */
    uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_relaxed);
    uint32_t alike = uf_table_candidates(table, bucket, head, hash);
    if (alike == 0) {
        return;
    }
    const _Atomic uint64_t *slot =
        uf_table_slot(table, bucket, head, (uint32_t)__builtin_ctz(alike));
    uint64_t word = slot == NULL ? 0 : atomic_load_explicit(slot, memory_order_relaxed);
    const uint8_t *block =
        uf_pool_block(table->pool, (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1));
    if (block != NULL) {
        __builtin_prefetch(block);
        __builtin_prefetch(block + UF_LINE);
        __builtin_prefetch(block + 2 * UF_LINE); /* at worst the next block's */
    }
}

static inline _Atomic uint64_t *payload_of(const struct uf_value *value, uint64_t offset)
{
    return (_Atomic uint64_t *)(void *)((uint8_t *)(uintptr_t)value + UF_BLOCK_HEAD + offset);
}

void uf_table_load(void *out, const struct uf_value *value, uint64_t offset, uint64_t bytes)
{
    _Atomic uint64_t *from = payload_of(value, offset);
    uint8_t *to = out;
    uint64_t i = 0;
    for (; i + 8 <= bytes; i += 8) {
        uint64_t word = atomic_load_explicit(from++, memory_order_acquire); /* V4 */
        memcpy(to + i, &word, 8);
    }
    if (i < bytes) {
        uint64_t word = atomic_load_explicit(from, memory_order_acquire); /* V4 */
        memcpy(to + i, &word, bytes - i);
    }
}

void uf_table_store(struct uf_value *value, uint64_t offset, const void *data, uint64_t bytes)
{
    _Atomic uint64_t *to = payload_of(value, offset);
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

/* 1: the entry is the key's, 0: it is not, -1: it changed as we looked. */
static int compare(const struct uf_found *found, const struct uf_key *key)
{
    const struct uf_value *value = found->value;
    /* V4, each. Acquire: the owner word is read again after them. */
    bool same =
        atomic_load_explicit(&value->hash, memory_order_acquire) == key->hash &&
        atomic_load_explicit(&value->space_bytes, memory_order_acquire) == key->space_bytes &&
        atomic_load_explicit(&value->key_bytes, memory_order_acquire) == key->key_bytes;
    if (same) {
        const _Atomic uint64_t *word = payload_of(value, 0);
        uint64_t difference = 0;
        for (uint32_t i = 0; i < key->words_count; i++) {
            difference |= atomic_load_explicit(&word[i], memory_order_acquire) ^ key->words[i];
        }
        same = difference == 0;
    }
    return uf_table_is_still(found) ? same : -1;
}

int uf_table_find(const struct uf_table *table, const struct uf_key *key, struct uf_found *found)
{
    uint32_t bucket = uf_table_bucket(table, key->hash);
    uint64_t fingerprint = key->hash & 0xffff;
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        /* V6 <- V5. Acquire: the slots of valid bits are written. */
        uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
        UF_STEP(V6);
        bool again = false;
        uint32_t left = uf_table_candidates(table, bucket, head, key->hash);
        while (left != 0 && !again) {
            uint32_t index = (uint32_t)__builtin_ctz(left);
            _Atomic uint64_t *slot = uf_table_slot(table, bucket, head, index);
            left &= left - 1;
            /* V2 <- V1. Acquire: the entry behind the word is complete. */
            uint64_t word = slot == NULL ? 0 : atomic_load_explicit(slot, memory_order_acquire);
            if (word >> 48 != fingerprint || word == 0 || uf_word_is_deleted(word)) {
                continue;
            }
            found->handle = (uint32_t)word & ((1u << UF_HANDLE_BITS) - 1);
            found->value = uf_pool_block(table->pool, found->handle);
            if (UF_UNLIKELY(found->value == NULL)) {
                return UF_CORRUPT;
            }
            UF_STEP(V2);
            found->owner = atomic_load_explicit(&found->value->owner, memory_order_acquire);
            found->word = word;
            found->slot = slot;
            int same = -1;
            if (uf_word_is_entry(found->owner) &&
                uf_table_word(fingerprint, found->owner, found->handle) == word) {
                bool fits = uf_pool_room(table->pool, found->handle) >= key->words_count * 8;
                same = fits ? compare(found, key) : 0;
            } else if (is_damaged(found)) {
                return UF_CORRUPT;
            }
            if (same == 1 && is_head_still(table, bucket, head)) {
                found->head = head;
                found->bucket = bucket;
                found->index = index;
                return UF_OK;
            }
            again = same != 0; /* it or the bucket changed: a miss would perhaps be a false one */
        }
        if (!again) {
            found->head = head;
            found->bucket = bucket;
            return UF_MISSING;
        }
    }
    return UF_BUSY;
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
        uint64_t owner = atomic_load_explicit(&value->owner, memory_order_acquire);
        bool reserved = (uf_head_valid(head) >> i & 1) == 0;
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
