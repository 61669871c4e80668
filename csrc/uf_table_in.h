/* uf_table_in.h -- what the table's sources share: words, finding a key, finishing a delete.
 * The contract is uf_table.h. */
#ifndef UF_TABLE_IN_H
#define UF_TABLE_IN_H

#include "uf_table.h"

#define UF_WORD_DELETED (1ull << 47)
#define UF_WORD_VERSION_BITS 21u

static inline uint64_t uf_head_next(uint64_t head, uint64_t extension, uint32_t valid)
{
    return ((head >> 35) + 1) << 35 | extension << 15 | valid;
}
static inline uint32_t uf_head_extension(uint64_t head)
{
    return (uint32_t)(head >> 15) & 0xfffff;
}
static inline uint32_t uf_head_valid(uint64_t head)
{
    return (uint32_t)head & 0x7fff;
}

static inline uint32_t uf_table_bucket(const struct uf_table *table, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * table->buckets) >> 32);
}

/* Of a bucket's valid slots, those that may have this fingerprint. The caller reads each of them again:
 * one that had another when all were looked at was not the key's then, as when it is read by itself.
 * Where words can't be compared at once, and where the tests watch each load, all valid ones. */
static inline uint32_t uf_table_candidates(const struct uf_table *table, uint32_t bucket,
                                           uint64_t head, uint64_t hash)
{
    uint32_t valid = uf_head_valid(head);
#ifdef UF_LINE_MATCHES
    uint32_t fingerprint = (uint32_t)hash & 0xffff;
    uint32_t alike = uf_line_matches(&table->bucket[bucket], fingerprint) >> 1;
    uint32_t extension = uf_head_extension(head);
    if (UF_UNLIKELY(extension != 0 && extension <= table->extensions)) {
        alike |= uf_line_matches(&table->extension[extension - 1], fingerprint) << UF_BUCKET_SLOTS;
    }
    return valid & alike;
#else
    (void)table, (void)bucket, (void)hash;
    return valid;
#endif
}

static inline uint64_t uf_table_word(uint64_t hash, uint64_t owner, uint32_t handle)
{
    uint64_t version = uf_word_version(owner) & ((1ull << UF_WORD_VERSION_BITS) - 1);
    return (hash & 0xffff) << 48 | version << UF_HANDLE_BITS | handle;
}
static inline bool uf_word_is_deleted(uint64_t word)
{
    return (word & UF_WORD_DELETED) != 0;
}
static inline uint64_t uf_table_stamp(uint64_t owner, uint32_t handle)
{
    return uf_word_version(owner) << UF_HANDLE_BITS | handle;
}

/* The slot's address, or NULL when the head names an extension that the table has not. */
static inline _Atomic uint64_t *uf_table_slot(const struct uf_table *table, uint32_t bucket,
                                              uint64_t head, uint32_t index)
{
    if (UF_LIKELY(index < UF_BUCKET_SLOTS)) {
        return &table->bucket[bucket].slot[index];
    }
    uint32_t extension = uf_head_extension(head);
    if (extension == 0 || extension > table->extensions || index >= UF_TABLE_SLOTS) {
        return NULL;
    }
    return &table->extension[extension - 1].slot[index - UF_BUCKET_SLOTS];
}

static inline bool uf_table_is_still(const struct uf_found *found)
{
    /* V4. Relaxed is enough: the word loads before it are acquire, so it comes after them. */
    uint64_t now = atomic_load_explicit(&found->value->owner, memory_order_relaxed);
    return ((now ^ found->owner) & UF_WORD_ENTRY) == 0; /* views of it may come and go */
}

static inline void uf_table_describe(const struct uf_found *found, struct uf_entry *entry)
{
    const struct uf_value *value = found->value;
    /* V4, each. Acquire: the owner word is read again after them. */
    entry->stamp = uf_table_stamp(found->owner, found->handle);
    entry->handle = found->handle;
    uint64_t sizes = atomic_load_explicit(&value->sizes, memory_order_acquire);
    entry->value_bytes = (uint32_t)sizes;
    entry->space_bytes = (uint16_t)(sizes >> 32);
    entry->key_bytes = (uint16_t)(sizes >> 48);
    entry->expires_ns = atomic_load_explicit(&value->expires_ns, memory_order_acquire);
    entry->tag = atomic_load_explicit(&value->tag, memory_order_acquire);
}

/* A cache's entry was read: the hand of uf_clock.h passes it by once. Written only where that is news. */
static inline void uf_table_touch(const struct uf_table *table, struct uf_value *value)
{
    /* Relaxed, both: a hint. Without an intent we may not write. */
    if (UF_UNLIKELY(atomic_load_explicit(&value->use, memory_order_relaxed) == UF_USE_IDLE) &&
        table->intent != NULL) {
        atomic_store_explicit(&value->use, UF_USE_SEEN, memory_order_relaxed);
    }
}

/* A word of a block's payload; offset: a multiple of 8. */
static inline _Atomic uint64_t *uf_table_payload(const struct uf_value *value, uint64_t offset)
{
    return (_Atomic uint64_t *)(void *)((uint8_t *)(uintptr_t)value + UF_BLOCK_HEAD + offset);
}

/* Copy between a block's payload and private memory, by words, each acquire or release (V3, V4).
 * offset: a multiple of 8. */
UF_API void uf_table_load(void *out, const struct uf_value *value, uint64_t offset, uint64_t bytes);
UF_API void uf_table_store(struct uf_value *value, uint64_t offset, const void *data,
                           uint64_t bytes);

/* The entry in one slot, if it is valid and not deleted. */
UF_API bool uf_table_look(const struct uf_table *table, uint32_t bucket, uint32_t index,
                          struct uf_found *found);
/* The key's entry. MISSING fills in head and bucket: the key was not in it at that head. */
UF_API int uf_table_find(const struct uf_table *table, const struct uf_key *key,
                         struct uf_found *found);
/* Say in our process slot which block we are about to unlink; UF_HANDLE_NONE: none. */
UF_API void uf_table_intend(struct uf_table *table, uint32_t handle, uint64_t owner);
/* The block of a word that we took out of a slot, `owner` being its owner word as an entry: ours, and
 * back to the pool. */
UF_API void uf_table_retire(struct uf_table *table, uint32_t handle, uint64_t owner);
/* T5 and T6 for a slot that holds the deleted word `word`. Anybody may. */
UF_API void uf_table_finish_delete(struct uf_table *table, uint32_t bucket, uint32_t index,
                                   uint64_t word);

#endif
