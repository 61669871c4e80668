#include "uf_table.h"
#include "uf_table_in.h"

/* What uf_table_changed does: comparing a table with what it was when it was last looked over. */

uint64_t uf_table_marks_bytes(const struct uf_table *table)
{
    return ((uint64_t)table->buckets + table->extensions) * UF_LINE;
}

/* Where the marks of a bucket keep the word of one of its slots. NULL: no such slot. */
static uint64_t *mark_of(const struct uf_table *table, uint64_t *marks, uint32_t bucket,
                         uint64_t head, uint32_t index)
{
    if (UF_LIKELY(index < UF_BUCKET_SLOTS)) {
        return &marks[(uint64_t)bucket * 8 + index];
    }
    uint32_t extension = uf_head_extension(head);
    if (extension == 0 || extension > table->extensions || index >= UF_TABLE_SLOTS) {
        return NULL;
    }
    return &marks[((uint64_t)table->buckets + extension - 1) * 8 + (index - UF_BUCKET_SLOTS)];
}

/* What a mark says of which nothing is known: no slot has this word, for handle 0 is no block. */
#define FORGOTTEN (1ull << UF_HANDLE_BITS)

void uf_table_forget(const struct uf_table *table, uint64_t *marks, uint64_t place)
{
    uint32_t bucket = (uint32_t)(place / 16);
    if (place / 16 < table->buckets) {
        uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
        uint64_t *mark = mark_of(table, marks, bucket, head, (uint32_t)(place % 16)); /* V6 */
        if (mark != NULL) {
            *mark = FORGOTTEN;
        }
    }
}

/* 1 when a slot that held `word` and was valid or not has another entry than its mark says. */
static inline uint32_t differs(uint64_t word, uint32_t valid, uint64_t mark)
{
    uint64_t is = valid & ~(word >> 47) & 1; /* bit 47: UF_WORD_DELETED */
    return ((word & (0 - is)) != mark);
}

/* The slots of a bucket, a bit each, whose words are others than they were. A hint: uf_table_look
 * judges, and what it found is noted, not this. */
static uint32_t differing(const struct uf_table *table, const uint64_t *marks, uint32_t bucket)
{
    const struct uf_bucket *line = &table->bucket[bucket];
    const uint64_t *mark = &marks[(uint64_t)bucket * 8];
    /* V6 <- V5. Acquire: the slots of valid bits are written. */
    uint64_t head = atomic_load_explicit(&line->head, memory_order_acquire);
    uint32_t valid = uf_head_valid(head);
    uint32_t extension = uf_head_extension(head);
    uint32_t found = 0;
    for (uint32_t i = 0; i < UF_BUCKET_SLOTS; i++) {
        /* V2. Relaxed: nothing is read through this word. */
        uint64_t word = atomic_load_explicit(&line->slot[i], memory_order_relaxed);
        found |= differs(word, valid >> i, mark[i]) << i;
    }
    if (extension == 0 || extension > table->extensions) {
        return found;
    }
    mark = &marks[((uint64_t)table->buckets + extension - 1) * 8];
    for (uint32_t i = 0; i < UF_EXTENSION_SLOTS; i++) {
        uint64_t word = atomic_load_explicit(&table->extension[extension - 1].slot[i],
                                             memory_order_relaxed); /* V2, the same */
        found |= differs(word, valid >> (UF_BUCKET_SLOTS + i), mark[i]) << (UF_BUCKET_SLOTS + i);
    }
    return found;
}

/* Copy what a slot holds. OK; MISSING: nothing (any more); TOO_BIG: it needs more room; BUSY: others
 * were faster at each try. */
static int read_slot(const struct uf_table *table, uint32_t bucket, uint32_t index, uint64_t *words,
                     void *out, uint64_t room, struct uf_entry *entry, uint64_t *word)
{
    for (uint32_t tries = 0; tries < UF_TABLE_TRIES; tries++) {
        struct uf_found found;
        if (!uf_table_look(table, bucket, index, &found)) {
            return UF_MISSING;
        }
        uf_table_describe(&found, entry);
        uint64_t room_in_block = uf_pool_room(table->pool, found.handle);
        uint64_t names = (uint64_t)entry->space_bytes + entry->key_bytes;
        uint64_t offset = uf_round_up(names, 8);
        bool fits = names <= UF_KEY_BYTES_MAX && offset <= room_in_block &&
                    entry->value_bytes <= room_in_block - offset;
        bool copy = fits && (out == NULL || entry->value_bytes <= room);
        if (copy) {
            UF_STEP(V4);
            uf_table_load(words, found.value, 0, names);
            if (out != NULL) {
                uf_table_load(out, found.value, offset, entry->value_bytes);
            }
        }
        /* V4. The owner word again, after every word of the copy: unchanged, the copy is whole. */
        if (uf_table_is_still(&found)) {
            *word = found.word;
            return copy ? UF_OK : fits ? UF_TOO_BIG : UF_MISSING; /* damaged: passed over */
        }
    }
    return UF_BUSY;
}

int uf_table_changed(const struct uf_table *table, uint64_t *marks, uint64_t *cursor, uint64_t end,
                     uint64_t *words, void *out, uint64_t room, struct uf_entry *entry)
{
    while (*cursor < end && *cursor / 16 < table->buckets) {
        uint32_t bucket = (uint32_t)(*cursor / 16);
        uint32_t left = differing(table, marks, bucket) >> (*cursor % 16);
        if (left == 0) {
            *cursor = (*cursor | 15) + 1;
            continue;
        }
        *cursor += (uint64_t)__builtin_ctz(left);
        if (*cursor >= end) {
            return UF_EMPTY;
        }
        uint32_t index = (uint32_t)(*cursor % 16);
        /* V6. Acquire, as in `differing`: which extension; a bucket's stays its own. */
        uint64_t head = atomic_load_explicit(&table->bucket[bucket].head, memory_order_acquire);
        uint64_t *mark = mark_of(table, marks, bucket, head, index);
        uint64_t word = 0;
        int status = mark == NULL ? UF_BUSY
                                  : read_slot(table, bucket, index, words, out, room, entry, &word);
        if (status == UF_TOO_BIG) {
            return status;
        }
        (*cursor)++;
        if (status == UF_BUSY) {
            continue; /* the mark is as it was: the next look tells */
        }
        /* What was read is noted, not what `differing` saw: that was perhaps a reservation, and its
         * entry would never be told. */
        bool told = *mark != 0 || status == UF_OK;
        *mark = word;
        if (told) {
            entry->handle = status == UF_OK ? entry->handle : UF_HANDLE_NONE;
            return UF_OK;
        }
    }
    return UF_EMPTY;
}

int uf_table_known(const struct uf_table *table, uint64_t *marks, const struct uf_key *key,
                   uint64_t *place)
{
    struct uf_found found;
    int status = uf_table_find(table, key, &found);
    if (status != UF_OK) {
        return status;
    }
    uint64_t *mark = mark_of(table, marks, found.bucket, found.head, found.index);
    if (mark == NULL) {
        return UF_CORRUPT;
    }
    *mark = found.word;
    *place = (uint64_t)found.bucket * 16 + found.index;
    return UF_OK;
}
